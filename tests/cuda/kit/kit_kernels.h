// SPDX-License-Identifier: Apache-2.0
// Small kernels that do one thing each that the emulation imitates. Run on a device and on the host, they tell whether
// the imitation is true. Every kernel is one warp, or one block; out holds a fixed number of words a thread.
#pragma once

#include <cstdint>

namespace moekit::kit {

/// Cases of one mma each: fragments as a lane holds them.
struct MmaParams {
  const std::uint32_t* a;  // [cases, 32, 4]
  const std::uint32_t* b;  // [cases, 32, 2]
  const float* c;          // [cases, 32, 4]
  float* out;              // [cases, 32, 4]
  int cases;
  bool bf16;
};

/// Chunks of 16 bytes by asynchronous copies through shared memory in two groups, and back in reverse order.
struct CopyParams {
  const std::uint32_t* in;  // [kCopyThreads, 2, 4]
  std::uint32_t* out;       // [kCopyThreads, 2, 4]
};
constexpr int kCopyThreads = 128;

/// Shuffles, votes and sums of a warp.
struct WarpParams {
  const std::uint32_t* in;  // [32]
  std::uint32_t* out;       // [32, kWarpWords]
};
constexpr int kWarpWords = 16;

/// Elementwise: what `op` does to in[i].
enum class Op : int { kToBf16, kFromBf16, kToF16, kFromF16, kExp, kLog1p, kSqrt, kReciprocal, kDivide, kFma };
struct MapParams {
  const std::uint32_t* in;  // [count]
  std::uint32_t* out;       // [count]
  int count;
  Op op;
};
constexpr int kMapThreads = 256;

// X(name, parameters)
#define MOEKIT_KIT_KERNELS(X)    \
  X(moekit_kit_mma, MmaParams)   \
  X(moekit_kit_copy, CopyParams) \
  X(moekit_kit_warp, WarpParams) \
  X(moekit_kit_map, MapParams)

}  // namespace moekit::kit
