// SPDX-License-Identifier: Apache-2.0
// The machine's limits, as figures of their own in the output.
#include <algorithm>

#include "common.h"

namespace moekit::bench {
namespace {

void measure(benchmark::State& state) {
  cpu::Limits& known = limits();
  for (auto _ : state) {
    const cpu::Limits again = cpu::measure_limits(known.read_bytes, 1.0);
    known.dram = std::max(known.dram, again.dram);
    for (std::size_t i = 0; i < known.peaks.size(); ++i) {
      known.peaks[i].fp32 = std::max(known.peaks[i].fp32, again.peaks[i].fp32);
      known.peaks[i].bf16 = std::max(known.peaks[i].bf16, again.peaks[i].bf16);
    }
  }
  state.counters["DRAM GB/s"] = known.dram * 1e-9;
  for (const cpu::IsaPeak& peak : known.peaks) {
    if (peak.fp32 > 0.0) state.counters[std::string(peak.isa) + " fp32 TF/s"] = peak.fp32 * 1e-12;
    if (peak.bf16 > 0.0) state.counters[std::string(peak.isa) + " bf16 TF/s"] = peak.bf16 * 1e-12;
  }
}

}  // namespace

void register_limits() {
  benchmark::RegisterBenchmark("limits", measure)->Iterations(1)->UseRealTime()->Unit(benchmark::kMillisecond);
}

}  // namespace moekit::bench
