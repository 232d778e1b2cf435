// SPDX-License-Identifier: Apache-2.0
#include "backends/cpu/limits.h"

#include <algorithm>
#include <chrono>
#include <cstring>
#include <fstream>
#include <stdexcept>
#include <string>

#include "core/aligned_buffer.h"
#include "core/cpu_features.h"
#include "core/thread_pool.h"
#include "moekit/core.h"

namespace moekit::cpu {

#define X(name) extern const LimitKernels k_##name##_limits;
#include "moekit_cpu_isas.inc"
#undef X

namespace {

using Clock = std::chrono::steady_clock;
using Words = std::uint64_t __attribute__((vector_size(16)));  // a register on every 64-bit host
constexpr std::size_t kLine = 64;

double since(Clock::time_point start) { return std::chrono::duration<double>(Clock::now() - start).count(); }

/// Every byte of `lines` lines of `kStreams` neighbouring streams. The prefetch goes to the second-level cache, whose
/// hardware prefetcher then runs ahead of it: plain loads alone stay about a tenth below.
template <int kStreams>
Words read_lines(const std::byte* p, std::size_t lines, std::size_t ahead) {
  Words sum{};
  const std::size_t stride = lines / kStreams * kLine;
  for (std::size_t i = 0; i < lines / kStreams; ++i, p += kLine)
    for (int s = 0; s < kStreams; ++s) {
      const std::byte* line = p + static_cast<std::size_t>(s) * stride;
      __builtin_prefetch(line + ahead, 0, 2);
      Words w[kLine / sizeof(Words)];
      std::memcpy(w, line, kLine);
      for (const Words& word : w) sum ^= word;
    }
  return sum;
}

struct Timed {
  double seconds = 0.0;  // from the moment when all threads have begun until the last one is done
  int threads = 0;       // one where the pool was busy with another caller's job
};

template <class Work>
Timed timed_pass(int threads, const Work& work) {
  Timed timed;
  run_parallel(threads, [&](Team& team, int thread) {
    work.enter();
    team.barrier();
    const Clock::time_point start = Clock::now();
    work(thread, team.threads());
    team.barrier();
    if (thread == 0) timed = {since(start), team.threads()};
    work.leave();
  });
  return timed;
}

struct ReadPass {
  const std::byte* data;
  std::size_t lines;  // a thread
  int streams;
  std::size_t ahead;
  std::uint64_t* sink;
  void enter() const noexcept {}
  void leave() const noexcept {}
  void operator()(int thread, int) const {
    const std::byte* mine = data + static_cast<std::size_t>(thread) * lines * kLine;
    const Words sum = streams == 1 ? read_lines<1>(mine, lines, ahead) : read_lines<2>(mine, lines, ahead);
    sink[static_cast<std::size_t>(thread) * 8] = sum[0] ^ sum[1];
  }
};

double best_read_rate(std::size_t bytes, int threads, double seconds) {
  AlignedBuffer buffer(bytes);
  // Written before it is read: pages that never were are all the one zero page, which lies in the first-level cache.
  parallel_for(threads, static_cast<std::int64_t>(bytes), 1 << 20, [&](std::int64_t first, std::int64_t last) {
    std::memset(buffer.data() + first, static_cast<int>(first >> 20) | 1, static_cast<std::size_t>(last - first));
  });
  std::vector<std::uint64_t> sink(static_cast<std::size_t>(threads) * 8);
  ReadPass pass{buffer.data(), bytes / kLine / static_cast<std::size_t>(threads), 1, 0, sink.data()};
  double best = 0.0;
  const Clock::time_point start = Clock::now();
  do {
    for (const int streams : {1, 2})
      for (const std::size_t ahead : {std::size_t{2048}, std::size_t{3072}}) {  // best where it was measured
        pass.streams = streams;
        pass.ahead = ahead;
        const Timed timed = timed_pass(threads, pass);
        best = std::max(best, static_cast<double>(pass.lines * kLine) * timed.threads / timed.seconds);
      }
  } while (since(start) < seconds);
  return best;
}

struct FlopPass {
  const LimitKernels* kernels;
  std::int64_t (*kernel)(std::int64_t, float*) noexcept;
  std::int64_t rounds;
  float* sink;
  std::int64_t* flops;
  void enter() const noexcept {
    if (kernels->enter != nullptr) kernels->enter();
  }
  void leave() const noexcept {
    if (kernels->leave != nullptr) kernels->leave();
  }
  void operator()(int thread, int) const {
    flops[thread * 8] = kernel(rounds, sink + static_cast<std::size_t>(thread) * kSinkFloats);
  }
};

double best_flop_rate(const LimitKernels& kernels, std::int64_t (*kernel)(std::int64_t, float*) noexcept, int threads,
                      double seconds) {
  if (kernel == nullptr) return 0.0;
  AlignedBuffer sink(static_cast<std::size_t>(threads) * kSinkFloats * sizeof(float));
  std::vector<std::int64_t> flops(static_cast<std::size_t>(threads) * 8);
  // 20000 rounds are about 100 us at 16 instructions of half a cycle: long against the barriers, short enough that
  // some passes are not disturbed.
  const FlopPass pass{&kernels, kernel, 20000, reinterpret_cast<float*>(sink.data()), flops.data()};
  double best = 0.0;
  const Clock::time_point start = Clock::now();
  do {
    std::fill(flops.begin(), flops.end(), 0);
    const Timed timed = timed_pass(threads, pass);
    double all = 0.0;
    for (const std::int64_t f : flops) all += static_cast<double>(f);
    best = std::max(best, all / timed.seconds);
  } while (since(start) < seconds);
  return best;
}

double best_from(const std::vector<IsaPeak>& peaks, std::string_view isa, double IsaPeak::*rate) {
  double best = 0.0;
  bool reached = isa.empty();
  for (const IsaPeak& peak : peaks) {
    reached = reached || peak.isa == isa;
    if (reached) best = std::max(best, peak.*rate);
  }
  return best;
}

// The largest cache that the system reports for CPU 0, and the memory that is free.
std::size_t reported_cache_bytes() {
  std::size_t largest = 0;
  for (int i = 0; i < 8; ++i) {
    std::ifstream file("/sys/devices/system/cpu/cpu0/cache/index" + std::to_string(i) + "/size");
    std::size_t kib = 0;
    if (file >> kib) largest = std::max(largest, kib * 1024);
  }
  return largest;
}

std::size_t free_memory_bytes() {
  std::ifstream file("/proc/meminfo");
  std::string key;
  for (std::size_t kib = 0; file >> key;) {
    if (key == "MemAvailable:" && file >> kib) return kib * 1024;
    file.ignore(256, '\n');
  }
  return std::size_t{4} << 30;
}

}  // namespace

double Limits::fp32_peak(std::string_view isa) const noexcept { return best_from(peaks, isa, &IsaPeak::fp32); }
double Limits::bf16_peak(std::string_view isa) const noexcept { return best_from(peaks, isa, &IsaPeak::bf16); }

std::size_t default_read_bytes(std::size_t cache_bytes) {
  const std::size_t cache = cache_bytes != 0 ? cache_bytes : reported_cache_bytes();
  const std::size_t wanted = std::max<std::size_t>(3 * cache, std::size_t{1536} << 20);
  return std::max<std::size_t>(std::min(wanted, free_memory_bytes() / 4), std::size_t{64} << 20);
}

Limits measure_limits(std::size_t read_bytes, double seconds) {
  Limits limits;
  limits.threads = num_threads();
  const auto threads = static_cast<std::size_t>(limits.threads);
  if (read_bytes < threads * 2 * kLine)
    throw std::invalid_argument("[limits] read_bytes is " + std::to_string(read_bytes) +
                                ", expected at least two lines a thread, " + std::to_string(threads * 2 * kLine));
  if (!(seconds >= 0.0))
    throw std::invalid_argument("[limits] seconds is " + std::to_string(seconds) + ", expected >= 0");
  limits.read_bytes = read_bytes;
  limits.dram = best_read_rate(read_bytes, limits.threads, seconds);
  const LimitKernels* const tables[] = {
#define X(name) &k_##name##_limits,
#include "moekit_cpu_isas.inc"
#undef X
  };
  for (const LimitKernels* table : tables)
    if ((table->needs & ~cpu_features()) == 0)
      limits.peaks.push_back({table->name, best_flop_rate(*table, table->fp32, limits.threads, seconds / 4),
                              best_flop_rate(*table, table->bf16, limits.threads, seconds / 4)});
  return limits;
}

}  // namespace moekit::cpu
