// SPDX-License-Identifier: Apache-2.0
#include <immintrin.h>

#include "backends/cpu/limits_fma.h"
#include "core/cpu_features.h"

namespace moekit::cpu {
namespace {

/// Dot products of pairs: 64 operations an instruction.
std::int64_t dot_rounds(std::int64_t rounds, float* sink) noexcept {
  constexpr int kChains = 16;
  // 0.5 in all lanes; sums grow to 0.5 * rounds, far from overflow.
  const __m512bh half = (__m512bh)_mm512_set1_epi16(0x3f00);
  __m512 acc[kChains];
#pragma GCC unroll 16
  for (int c = 0; c < kChains; ++c) acc[c] = _mm512_set1_ps(static_cast<float>(c));
  for (std::int64_t r = 0; r < rounds; ++r) {
#pragma GCC unroll 16
    for (int c = 0; c < kChains; ++c) acc[c] = _mm512_dpbf16_ps(acc[c], half, half);
  }
#pragma GCC unroll 16
  for (int c = 0; c < kChains; ++c) _mm512_storeu_ps(sink + c * 16, acc[c]);
  return rounds * kChains * 64;
}

}  // namespace

extern const LimitKernels k_avx512bf16_limits;
constexpr LimitKernels k_avx512bf16_limits = {"avx512bf16", kAvx512 | kAvx512Bf16, nullptr, dot_rounds, nullptr,
                                              nullptr};

}  // namespace moekit::cpu
