// SPDX-License-Identifier: Apache-2.0
// Elementary functions of float32 whose bits depend on the argument alone: the C library's differ between libraries,
// versions and processors. Computed in double by additions, multiplications and divisions in a fixed order (what
// includes it is compiled without contraction); errors are below 0.501 ulp, those of tanh below 0.505.
#pragma once

#include <cstdint>
#include <limits>

#include "core/float_convert.h"

namespace moekit::elementary {

/// x = m 2^exponent with 1 <= m < 2, for normal x > 0.
struct Binary {
  double m, exponent;
  explicit Binary(double x) noexcept {
    const auto bits = bits_as<std::uint64_t>(x);
    exponent = static_cast<double>(static_cast<std::int64_t>(bits >> 52) - 1023);
    m = bits_as<double>((bits & ((std::uint64_t{1} << 52) - 1)) | (std::uint64_t{1023} << 52));
  }
};
constexpr double kLn2 = 0.69314718055994530942;

/// e^x with an error below 1e-11 of it. Beyond -150 .. 150 its values there, which float32 rounds to 0 and infinity.
inline double exp_of(double x) noexcept {
  x = x < -150.0 ? -150.0 : x;  // NaN stays
  x = x > 150.0 ? 150.0 : x;
  // 2^t for t = x / ln 2 = n + f, |f| <= 1/2. Adding 1.5 * 2^52 rounds to an integer, which stands in the low bits.
  constexpr double kMagic = 6755399441055744.0, kLog2E = 1.4426950408889634;
  const double t = x * kLog2E, shifted = t + kMagic, f = t - (shifted - kMagic);
  // The Taylor series of 2^f to degree 9, (ln 2)^k / k!; the next term is 7e-12 at the ends.
  double p = 1.01780860092396959e-7;
  p = p * f + 1.32154867901443094e-6;
  p = p * f + 1.52527338040598402e-5;
  p = p * f + 1.54035303933816099e-4;
  p = p * f + 1.33335581464284434e-3;
  p = p * f + 9.61812910762847716e-3;
  p = p * f + 5.55041086648215799e-2;
  p = p * f + 2.40226506959100712e-1;
  p = p * f + 6.93147180559945309e-1;
  p = p * f + 1.0;
  return p * bits_as<double>((bits_as<std::uint64_t>(shifted) + 1023) << 52);
}

/// 2 atanh(s) = log((1 + s) / (1 - s)) for |s| <= 0.172, by its series to degree 19; the next term is s^21 / 21 = 1e-17
/// of s.
inline double twice_atanh(double s) noexcept {
  const double square = s * s;
  double p = 1.0 / 19.0;
  for (int n = 17; n > 0; n -= 2) p = p * square + 1.0 / n;
  return 2.0 * s * p;
}

/// log(1 + y) for 0 <= y < infinity.
inline double log1p_of(double y) noexcept {
  constexpr double kSqrt2 = 1.4142135623730951;
  if (y < kSqrt2 - 1.0) return twice_atanh(y / (2.0 + y));  // nothing is lost to rounding 1 + y
  Binary sum(1.0 + y);
  if (sum.m > kSqrt2) sum.m *= 0.5, sum.exponent += 1.0;
  return sum.exponent * kLn2 + twice_atanh((sum.m - 1.0) / (sum.m + 1.0));
}

inline float exp(float x) noexcept { return static_cast<float>(exp_of(static_cast<double>(x))); }

/// 1 / (1 + e^-x).
inline float sigmoid(float x) noexcept { return static_cast<float>(1.0 / (1.0 + exp_of(-static_cast<double>(x)))); }

/// log(1 + e^x) for x up to 150.
inline float softplus(float x) noexcept {
  return x != x ? x : static_cast<float>(log1p_of(exp_of(static_cast<double>(x))));
}

inline float tanh(float x) noexcept {
  const double z = static_cast<double>(x), square = z * z;
  // Below 2^-6 three terms of the series; the next one is 17 z^7 / 315 = 3e-12 of z. Above, cancellation takes 6 of 52
  // bits.
  if (square < 1.0 / 4096.0) return static_cast<float>(z * (1.0 - square * (1.0 / 3.0 - square * (2.0 / 15.0))));
  return static_cast<float>(1.0 - 2.0 / (exp_of(2.0 * z) + 1.0));
}

/// x^p for x >= 0 (or NaN) and finite p > 0.
inline float pow(float x, double p) noexcept {
  if (!(x > 0.0f) || x > std::numeric_limits<float>::max()) return x;  // 0, NaN and infinity
  const Binary base(static_cast<double>(x));                           // subnormal floats are normal doubles
  return static_cast<float>(exp_of(p * (base.exponent * kLn2 + log1p_of(base.m - 1.0))));
}

}  // namespace moekit::elementary
