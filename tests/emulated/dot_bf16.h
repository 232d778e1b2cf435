// SPDX-License-Identifier: Apache-2.0
// AVX512-BF16 emulated in plain loops, by the operation sections of VDPBF16PS and VCVTNE2PS2BF16 in Intel's manual. For
// tests only.
#pragma once

#include <immintrin.h>

namespace moekit::emulated {

/// c + a b for pairs of bfloat16: the odd element of a pair first, then the even one, each a fused multiply-add.
/// Subnormal operands and results are zeros, rounding is to nearest even whatever MXCSR says.
void dot_bf16(const float* c, const void* a, const void* b, float* out) noexcept;
/// Sixteen numbers of `low`, then of `high`, to bfloat16: to nearest even, subnormal ones to zeros, NaNs made quiet.
void round_bf16(const float* high, const float* low, void* out) noexcept;

inline __m512 dpbf16_ps(__m512 c, __m512bh a, __m512bh b) noexcept {
  __m512 out;
  dot_bf16(reinterpret_cast<const float*>(&c), &a, &b, reinterpret_cast<float*>(&out));
  return out;
}
inline __m512bh cvtne2ps_pbh(__m512 high, __m512 low) noexcept {
  __m512bh out;
  round_bf16(reinterpret_cast<const float*>(&high), reinterpret_cast<const float*>(&low), &out);
  return out;
}

}  // namespace moekit::emulated
