// SPDX-License-Identifier: Apache-2.0
// Multiply-adds on registers only. Everything is in an anonymous namespace, as in vec.h.
#pragma once

#include "backends/cpu/gemm_fma.h"
#include "backends/cpu/limits.h"

namespace moekit::cpu {
namespace {

/// kChains independent sums a round: at least latency x units (4 x 2 on x86, 4 x 4 on large Arm cores), and together
/// with the two operands within the register file.
template <int kVectorBytes, int kChains>
std::int64_t fma_rounds(std::int64_t rounds, float* sink) noexcept {
  using V = typename Lanes<kVectorBytes>::F;
  constexpr int kLanes = kVectorBytes / 4;
  V acc[kChains], a, b;
  // Values near 1 that differ by lane, bounded for any number of rounds: x -> 0.75 x + b.
  for (int i = 0; i < kLanes; ++i) a[i] = 0.75f, b[i] = 0.25f + 0.001f * static_cast<float>(i);
#pragma GCC unroll 32
  for (int c = 0; c < kChains; ++c) acc[c] = V{} + static_cast<float>(c);
  for (std::int64_t r = 0; r < rounds; ++r) {
#pragma GCC unroll 32
    for (int c = 0; c < kChains; ++c) acc[c] = multiply_add(acc[c], a, b);
  }
#pragma GCC unroll 32
  for (int c = 0; c < kChains; ++c) store(sink + c * kLanes, acc[c]);
  return rounds * kChains * kLanes * 2;
}

}  // namespace
}  // namespace moekit::cpu
