// SPDX-License-Identifier: Apache-2.0
// The arithmetic that AMX-BF16 and AVX512-BF16 share: subnormal operands and results are zeros of their sign, rounding
// is to nearest even. Flags of the thread are left out of it.
#pragma once

#include <cmath>
#include <cstdint>
#include <cstring>

namespace moekit::emulated {

inline float flush(float x) noexcept {
  std::uint32_t bits;
  std::memcpy(&bits, &x, sizeof bits);
  if ((bits & 0x7f800000u) == 0) bits &= 0x80000000u;
  std::memcpy(&x, &bits, sizeof x);
  return x;
}

/// Of a bfloat16 number.
inline float widened(std::uint16_t bits) noexcept {
  const std::uint32_t wide = std::uint32_t{bits} << 16;
  float x;
  std::memcpy(&x, &wide, sizeof x);
  return flush(x);
}

/// a b + c, rounded once.
inline float fused(float a, float b, float c) noexcept { return flush(std::fma(a, b, flush(c))); }

}  // namespace moekit::emulated
