// SPDX-License-Identifier: Apache-2.0
#include "backends/cpu/limit_meter.h"

#include <algorithm>
#include <chrono>
#include <cstring>
#include <numeric>
#include <stdexcept>
#include <string>

#include "core/cpu_features.h"
#include "core/thread_pool.h"

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
  ReadWay way;
  std::uint64_t* sink;
  void enter() const noexcept {}
  void leave() const noexcept {}
  void operator()(int thread, int) const {
    const std::byte* mine = data + static_cast<std::size_t>(thread) * lines * kLine;
    const Words sum = way.streams == 1 ? read_lines<1>(mine, lines, way.ahead) : read_lines<2>(mine, lines, way.ahead);
    sink[static_cast<std::size_t>(thread) * 8] = sum[0] ^ sum[1];
  }
};

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

/// What a pass did, and in which time.
struct Done {
  double work = 0.0, seconds = 0.0;
  double rate() const { return work / seconds; }
};

Done read_once(const std::byte* data, std::size_t bytes, const ReadWay& way, int threads) {
  std::vector<std::uint64_t> sink(static_cast<std::size_t>(threads) * 8);
  const ReadPass pass{data, bytes / kLine / static_cast<std::size_t>(threads), way, sink.data()};
  const Timed timed = timed_pass(threads, pass);
  return {static_cast<double>(pass.lines * kLine) * timed.threads, timed.seconds};
}

class FlopRounds {
 public:
  FlopRounds(const LimitKernels& kernels, bool bf16, int threads)
      : sink_(static_cast<std::size_t>(threads) * kSinkFloats * sizeof(float)),
        flops_(static_cast<std::size_t>(threads) * 8),
        kernels_(kernels),
        kernel_(bf16 ? kernels.bf16 : kernels.fp32),
        threads_(threads) {}

  bool any() const noexcept { return kernel_ != nullptr; }
  Done once() {
    // 20000 rounds are about 100 us at 16 instructions of half a cycle: long against the barriers, short enough that
    // some passes are not disturbed.
    const FlopPass pass{&kernels_, kernel_, 20000, reinterpret_cast<float*>(sink_.data()), flops_.data()};
    std::fill(flops_.begin(), flops_.end(), 0);
    const Timed timed = timed_pass(threads_, pass);
    return {std::accumulate(flops_.begin(), flops_.end(), 0.0), timed.seconds};
  }

 private:
  AlignedBuffer sink_;
  std::vector<std::int64_t> flops_;
  const LimitKernels& kernels_;
  std::int64_t (*kernel_)(std::int64_t, float*) noexcept;
  int threads_;
};

double best_flop_rate(const LimitKernels& kernels, bool bf16, int threads, double seconds) {
  FlopRounds rounds(kernels, bf16, threads);
  double best = 0.0;
  const Clock::time_point start = Clock::now();
  if (rounds.any()) do {
      best = std::max(best, rounds.once().rate());
    } while (since(start) < seconds);
  return best;
}

/// All passes of at least `seconds` together.
template <class Once>
double mean_rate(double seconds, const Once& once) {
  Done all;
  const Clock::time_point start = Clock::now();
  do {
    const Done done = once();
    all.work += done.work, all.seconds += done.seconds;
  } while (since(start) < seconds);
  return all.rate();
}

}  // namespace

LimitMeter::LimitMeter(std::size_t read_bytes) {
  best_.threads = num_threads();
  best_.read_bytes = read_bytes;
  const auto threads = static_cast<std::size_t>(best_.threads);
  if (read_bytes < threads * 2 * kLine)
    throw std::invalid_argument("[limits] read_bytes is " + std::to_string(read_bytes) +
                                ", expected at least two lines a thread, " + std::to_string(threads * 2 * kLine));
  memory_ = AlignedBuffer(read_bytes);
  // Written before it is read: pages that never were are all the one zero page, which lies in the first-level cache.
  parallel_for(
      best_.threads, static_cast<std::int64_t>(read_bytes), 1 << 20, [&](std::int64_t first, std::int64_t last) {
        std::memset(memory_.data() + first, static_cast<int>(first >> 20) | 1, static_cast<std::size_t>(last - first));
      });
  const LimitKernels* const tables[] = {
#define X(name) &k_##name##_limits,
#include "moekit_cpu_isas.inc"
#undef X
  };
  for (const LimitKernels* table : tables)
    if ((table->needs & ~cpu_features()) == 0) {
      tables_.push_back(table);
      best_.peaks.push_back({table->name});
    }
}

void LimitMeter::measure(double seconds) {
  if (!(seconds >= 0.0))
    throw std::invalid_argument("[limits] seconds is " + std::to_string(seconds) + ", expected >= 0");
  const Clock::time_point start = Clock::now();
  do {
    for (const ReadWay way : {ReadWay{1, 2048}, {1, 3072}, {2, 2048}, {2, 3072}}) {  // best where it was measured
      const double rate = read_once(memory_.data(), memory_.bytes(), way, best_.threads).rate();
      if (rate > best_.dram) best_.dram = rate, way_ = way;
    }
  } while (since(start) < seconds);
  for (std::size_t i = 0; i < tables_.size(); ++i) {
    IsaPeak& peak = best_.peaks[i];
    peak.fp32 = std::max(peak.fp32, best_flop_rate(*tables_[i], false, best_.threads, seconds / 4));
    peak.bf16 = std::max(peak.bf16, best_flop_rate(*tables_[i], true, best_.threads, seconds / 4));
  }
}

double LimitMeter::read_rate(double seconds) {
  // A few milliseconds: calls much shorter than a pass over everything do not read the same part each time.
  const std::size_t piece = std::min(memory_.bytes(), std::size_t{64} << 20);
  return mean_rate(seconds, [&] {
    if (at_ + piece > memory_.bytes()) at_ = 0;
    at_ += piece;
    return read_once(memory_.data() + at_ - piece, piece, way_, best_.threads);
  });
}

double LimitMeter::flop_rate(const Peak& peak, double seconds) const {
  if (peak.rate == 0.0) return 0.0;
  FlopRounds rounds(*tables_.at(peak.isa), peak.bf16, best_.threads);
  return mean_rate(seconds, [&] { return rounds.once(); });
}

}  // namespace moekit::cpu
