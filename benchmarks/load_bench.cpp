// SPDX-License-Identifier: Apache-2.0
// Loading a layer from files in the page cache, against reading them. Counters:
//   GB/s      bytes of the file by the time of the load
//   of_read   time of reading the file into memory of its own by the time of the load: what a loader cannot be without
//   of_copy   the same of reading it piece by piece into a buffer that is used again: no memory is made
//   peak      memory at the highest point of the load, and what the file's cached pages do not count to, by packed
//   bytes
// Reads and loads take turns within one run, by all threads; fractions are those of the fastest turns.
#include <algorithm>
#include <atomic>
#include <fstream>
#include <functional>
#include <memory>
#include <string>

#include "checkpoint/file.h"
#include "common.h"
#include "core/thread_pool.h"
#include "load_files.h"
#include "moekit/convert.h"
#include "moekit/model.h"

namespace moekit::bench {
namespace {

constexpr std::int64_t kPiece = std::int64_t{1} << 19;  // of a read: a piece stays in the second-level cache
constexpr int kTurns = 10;

double seconds_of(const std::function<void()>& run) {
  const TimePoint start = now();
  run();
  return std::chrono::duration<double>(now() - start).count();
}

// Reads the file by all threads: into `whole`, or each thread into a buffer of its own again and again.
void read_file(const FileStorage& file, std::byte* whole) {
  const auto size = static_cast<std::int64_t>(file.size());
  std::atomic<std::int64_t> next{0};
  run_throwing(num_threads(), [&](Team&, int) {
    std::vector<std::byte> own(whole == nullptr ? static_cast<std::size_t>(kPiece) : 0);
    for (std::int64_t at; (at = next.fetch_add(kPiece)) < size;)
      file.read_into(static_cast<std::uint64_t>(at), static_cast<std::size_t>(std::min(kPiece, size - at)),
                     whole == nullptr ? own.data() : whole + at);
  });
}

// A line of /proc/self/status, in bytes.
double status(const std::string& key) {
  std::ifstream file("/proc/self/status");
  for (std::string line; std::getline(file, line);)
    if (line.compare(0, key.size() + 1, key + ":") == 0) return std::stod(line.substr(key.size() + 1)) * 1024.0;
  return 0.0;
}
// The highest point begins anew.
void reset_peak() { std::ofstream("/proc/self/clear_refs") << "5"; }

void load(benchmark::State& state, const std::string& scheme) {
  const LoadFiles files(scheme);
  const auto file = FileStorage::open(files.weights());
  const auto size = static_cast<std::size_t>(file->size());
  double best_copy = 1e9, best_read = 1e9, best = 1e9, peak = 0.0;  // seconds; fraction
  for (auto _ : state) {
    // Memory that was freed a moment ago costs less than memory of the host's: every turn frees its own.
    best_copy = std::min(best_copy, seconds_of([&] { read_file(*file, nullptr); }));
    best_read = std::min(best_read, seconds_of([&] { read_file(*file, AlignedBuffer(size).data()); }));
    reset_peak();
    const double before = status("VmRSS");
    std::unique_ptr<MoeLayer> layer;
    const double seconds = seconds_of([&] { layer = std::make_unique<MoeLayer>(load_layer(files.folder(), 0)); });
    peak = std::max(peak, (status("VmHWM") - before) / static_cast<double>(layer->packed_bytes()));
    best = std::min(best, seconds);
    state.SetIterationTime(seconds);
  }
  state.counters["GB/s"] = static_cast<double>(size) * 1e-9 / best;
  state.counters["of_read"] = best_read / best;
  state.counters["of_copy"] = best_copy / best;
  state.counters["peak"] = peak;
}

// The file that convert makes: written with one copy in memory, opened without reading weights.
void converted(benchmark::State& state, const std::string& scheme) {
  const LoadFiles files(scheme);
  const std::string out = files.folder() + "/converted";
  reset_peak();
  const double before = status("VmRSS");
  const double seconds = seconds_of([&] { convert_model(files.folder(), out, {}); });
  const double peak = status("VmHWM") - before;
  double grown = 0.0, bytes = 1.0;
  for (auto _ : state) {
    const double at = status("VmRSS");
    std::unique_ptr<MoeLayer> layer;
    state.SetIterationTime(seconds_of([&] { layer = std::make_unique<MoeLayer>(load_layer(out, 0)); }));
    grown = std::max(grown, status("VmRSS") - at);
    bytes = static_cast<double>(layer->packed_bytes());
  }
  state.counters["convert_GB/s"] = bytes * 1e-9 / seconds;
  state.counters["convert_peak"] = peak / bytes;
  state.counters["open_MB"] = grown * 1e-6;
}

}  // namespace

void register_load() {
  for (const std::string& scheme : load_schemes())
    benchmark::RegisterBenchmark(("load/" + scheme).c_str(), [scheme](benchmark::State& state) { load(state, scheme); })
        ->UseManualTime()
        ->Iterations(kTurns)
        ->Unit(benchmark::kMillisecond);
  for (const char* scheme : {"bf16", "int4_words"})
    benchmark::RegisterBenchmark(("open/" + std::string(scheme)).c_str(),
                                 [scheme](benchmark::State& state) { converted(state, scheme); })
        ->UseManualTime()
        ->Iterations(kTurns)
        ->Unit(benchmark::kMillisecond);
}

}  // namespace moekit::bench
