// SPDX-License-Identifier: Apache-2.0
// What this machine can do at most: the rates that benchmarks are judged by. limit_meter.h measures them.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string_view>
#include <vector>

#include "moekit/core.h"

namespace moekit::cpu {

/// Arithmetic of an ISA on operands in registers. One a file limits_<isa>.cpp.
struct LimitKernels {
  std::string_view name;
  std::uint32_t needs = 0;  // CpuFeature bits
  /// Runs `rounds` rounds and returns their floating-point operations, a multiply-add being two. `sink` [1024] floats,
  /// 64-byte aligned, keeps the result alive.
  std::int64_t (*fp32)(std::int64_t rounds, float* sink) noexcept = nullptr;
  std::int64_t (*bf16)(std::int64_t rounds, float* sink) noexcept = nullptr;  // null: no bfloat16 products
  void (*enter)() noexcept = nullptr;                                         // per thread; null: nothing to do
  void (*leave)() noexcept = nullptr;
};
constexpr std::size_t kSinkFloats = 1024;

struct IsaPeak {
  std::string_view isa;
  double fp32 = 0.0;  // flop/s of all threads; 0: the ISA has none of its own
  double bf16 = 0.0;
};

/// Arithmetic of an ISA that weights of a dtype are judged by.
struct Peak {
  std::size_t isa = 0;  // index into Limits::peaks
  bool bf16 = false;    // bfloat16 products, not float32 ones
  double rate = 0.0;    // flop/s; 0: there is none
};

struct Limits {
  int threads = 0;
  std::size_t read_bytes = 0;  // memory that one pass read
  double dram = 0.0;           // bytes/s of all threads together
  std::vector<IsaPeak> peaks;  // ISAs that the host runs, best first
  /// The best rates of `isa` and the ISAs after it, which is where kernels that it lacks are inherited from;
  /// "" takes all.
  Peak fp32_peak(std::string_view isa = "") const noexcept;
  Peak bf16_peak(std::string_view isa = "") const noexcept;
  /// float32: multiply-adds in float32. Other weights: in bfloat16 where that is faster.
  Peak peak_of(DType weights, std::string_view isa = "") const noexcept;
};

/// Enough memory that caches of `cache_bytes` hold little of it, and at most a quarter of what is free.
/// `cache_bytes` 0: the last-level cache that the system reports.
std::size_t default_read_bytes(std::size_t cache_bytes = 0);

}  // namespace moekit::cpu
