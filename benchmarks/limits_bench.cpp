// SPDX-License-Identifier: Apache-2.0
// The machine's limits, as figures of their own in the output.
#include <string>

#include "common.h"

namespace moekit::bench {
namespace {

void measure(benchmark::State& state) {
  for (auto _ : state) limits().measure(1.0);
  const cpu::Limits& best = limits().best();
  state.counters["DRAM GB/s"] = best.dram * 1e-9;
  for (const cpu::IsaPeak& peak : best.peaks) {
    if (peak.fp32 > 0.0) state.counters[std::string(peak.isa) + " fp32 TF/s"] = peak.fp32 * 1e-12;
    if (peak.bf16 > 0.0) state.counters[std::string(peak.isa) + " bf16 TF/s"] = peak.bf16 * 1e-12;
  }
}

}  // namespace

void register_limits() {
  benchmark::RegisterBenchmark("limits", measure)->Iterations(1)->UseRealTime()->Unit(benchmark::kMillisecond);
}

}  // namespace moekit::bench
