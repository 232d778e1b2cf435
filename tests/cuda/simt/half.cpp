// SPDX-License-Identifier: Apache-2.0
#include <cmath>

#include "cuda/simt/simt.h"

namespace simt {

float half_value(unsigned bits) {
  const int exponent = static_cast<int>(bits >> 10 & 31), mantissa = static_cast<int>(bits & 1023);
  const float sign = (bits >> 15) != 0 ? -1.0f : 1.0f;
  if (exponent == 31) return mantissa != 0 ? std::nanf("") : sign * HUGE_VALF;
  return exponent == 0 ? sign * std::ldexp(static_cast<float>(mantissa), -24)
                       : sign * std::ldexp(static_cast<float>(1024 + mantissa), exponent - 25);
}

unsigned half_bits(float value) {
  const unsigned sign = __float_as_uint(value) >> 31 << 15;
  if (value != value) return 0x7fffu;  // what cvt.rn.f16.f32 makes of every NaN
  const float magnitude = std::fabs(value);
  if (magnitude >= 65520.0f) return sign | 0x7c00u;  // halfway between 65504 and 65536, and on
  // In units of the last place: 2^-24 below 2^-14, 2^(e - 10) above. nearbyint rounds half to even, and a mantissa that
  // becomes 2048 carries into the exponent by itself.
  const int exponent = magnitude < 0x1p-14f ? -14 : std::ilogb(magnitude);
  const auto units = static_cast<unsigned>(std::nearbyint(std::ldexp(magnitude, 10 - exponent)));
  return sign | ((static_cast<unsigned>(exponent + 14) << 10) + units);
}

}  // namespace simt
