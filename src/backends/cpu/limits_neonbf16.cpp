// SPDX-License-Identifier: Apache-2.0
#include "backends/cpu/limits_fma.h"
#include "backends/cpu/mmla_neon.h"
#include "core/cpu_features.h"

namespace moekit::cpu {
namespace {

/// Matrix products of 2 x 4 by 4 x 2: 32 operations an instruction.
std::int64_t matrix_rounds(std::int64_t rounds, float* sink) noexcept {
  constexpr int kChains = 24;
  // 0.25 and 0.5 in turn (GCC 12 makes equal lanes by a move of FEAT_FP16); sums grow by 0.625 a round, far from
  // overflow.
  const auto values = (bfloat16x8_t)vdupq_n_u32(0x3f003e80);
  float32x4_t acc[kChains];
#pragma GCC unroll 24
  for (int c = 0; c < kChains; ++c) acc[c] = vdupq_n_f32(static_cast<float>(c));
  for (std::int64_t r = 0; r < rounds; ++r) {
#pragma GCC unroll 24
    for (int c = 0; c < kChains; ++c) acc[c] = vbfmmlaq_f32(acc[c], values, values);
  }
#pragma GCC unroll 24
  for (int c = 0; c < kChains; ++c) vst1q_f32(sink + c * 4, acc[c]);
  return rounds * kChains * 32;
}

}  // namespace

extern const LimitKernels k_neonbf16_limits;
constexpr LimitKernels k_neonbf16_limits = {"neonbf16", kNeon | kNeonBf16, nullptr, matrix_rounds, nullptr, nullptr};

}  // namespace moekit::cpu
