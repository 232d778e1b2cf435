// SPDX-License-Identifier: Apache-2.0
// moekit_benchmarks: kernels, layers, routing, loading, and the machine's limits. Google Benchmark's options apply,
// e.g.
//   moekit_benchmarks --benchmark_filter=layer/ --benchmark_out=new.json --benchmark_out_format=json
#include <string>

#include "backends/cpu/isa.h"
#include "common.h"

int main(int argc, char** argv) {
  using namespace moekit;
  benchmark::Initialize(&argc, argv);
  if (benchmark::ReportUnrecognizedArguments(argc, argv)) return 1;
  const cpu::ChosenKernels chosen = cpu::choose_kernels();
  benchmark::AddCustomContext("moekit", std::string(version()));
  benchmark::AddCustomContext("moekit_threads", std::to_string(num_threads()));
  benchmark::AddCustomContext("moekit_float32_kernels", std::string(chosen.f32_name));
  benchmark::AddCustomContext("moekit_bfloat16_kernels", std::string(chosen.bf16_name));
  bench::register_limits();
  bench::register_sweeps();
  bench::register_layer();
  bench::register_dense();
  bench::register_load();
  bench::register_routing();
#ifdef MOEKIT_WITH_ONEDNN
  bench::register_onednn();
#endif
  benchmark::RunSpecifiedBenchmarks();
  benchmark::Shutdown();
}
