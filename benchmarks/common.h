// SPDX-License-Identifier: Apache-2.0
// What the benchmarks share: limits of the run, counters, buffers of real values.
#pragma once

#include <benchmark/benchmark.h>

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

#include "backends/cpu/limit_meter.h"
#include "core/aligned_buffer.h"
#include "moekit/core.h"

namespace moekit::bench {

// One Qwen3-30B-A3B block: hidden, intermediate, experts, experts a token.
constexpr std::int64_t kHidden = 2048, kIntermediate = 768, kExperts = 128, kTopK = 8;

/// Dense softmax modules.
struct DenseShape {
  std::int64_t experts, input, output, batch;
};
constexpr DenseShape kDenseShapes[] = {
    {4, 10, 5, 32}, {8, 512, 512, 1}, {8, 512, 512, 64}, {8, 512, 512, 1024}, {64, 1024, 1024, 256}};
/// dtype/ExIxO/batch:B
std::string dense_name(DType dtype, const DenseShape& shape);

/// The limits of this machine; the first call measures the best ones.
cpu::LimitMeter& limits();

using TimePoint = std::chrono::steady_clock::time_point;
inline TimePoint now() { return std::chrono::steady_clock::now(); }

/// What a loop is judged by, and when it began.
struct Beside {
  DType dtype;
  std::string_view isa;
  double dram, peak;  // just before the loop, 20 ms each
  TimePoint start;
};
/// Call it right before the loop. `dtype`: of the weights. `isa`: whose peak counts; "": the best of the host.
Beside beside(DType dtype, std::string_view isa = "");

/// Work of one iteration.
struct Work {
  double weight_bytes = 0.0;  // read from memory
  double flops = 0.0;
};
/// Counters GB/s (weights), TF/s, of_dram and of_peak: fractions of the limits as they are just before and just after
/// the loop: a machine that others use, too, gives less at some times than at its best. Call it right after the loop.
/// (Google Benchmark's rate counters would be printed as "GB/s=3/s".)
void report(benchmark::State& state, const Work& work, const Beside& beside);

/// A buffer of bfloat16 values +-(2^-10 .. 2^-5), random bits: in pairs also float32 values of that size. Written by
/// all threads: memory that never was written is one zero page, and reads like a cache.
AlignedBuffer random_values(std::size_t bytes, std::uint64_t seed);
/// Weights for kernels to stream: more than the caches hold, allocated once.
const AlignedBuffer& cold_weights();

// One function a file; main.cpp calls them in this order.
void register_limits();
void register_sweeps();
void register_layer();
void register_dense();
void register_load();
void register_routing();
#ifdef MOEKIT_WITH_ONEDNN
void register_onednn();
#endif

}  // namespace moekit::bench
