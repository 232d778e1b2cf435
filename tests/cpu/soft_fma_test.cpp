// SPDX-License-Identifier: Apache-2.0
// The multiply-add of processors that have none, against the C library's.
#define MOEKIT_SOFT_FMA
#include "backends/cpu/fma.h"

#include <gtest/gtest.h>

#include <cmath>
#include <random>

#include "core/float_convert.h"

namespace moekit::cpu {
namespace {

void expect_same(const float (&a)[4], const float (&b)[4], const float (&c)[4]) {
  F4 x, y, z;
  std::memcpy(&x, a, sizeof a);
  std::memcpy(&y, b, sizeof b);
  std::memcpy(&z, c, sizeof c);
  const F4 got = multiply_add(x, y, z);
  for (int i = 0; i < 4; ++i) {
    const float want = std::fma(a[i], b[i], c[i]);
    ASSERT_TRUE(want != want ? got[i] != got[i] : bits_from_float(got[i]) == bits_from_float(want))
        << a[i] << " * " << b[i] << " + " << c[i] << " is " << got[i] << ", expected " << want;
  }
}

// Any bits: NaN, infinities and subnormals among them.
TEST(SoftFma, AnyNumbers) {
  std::mt19937_64 rng(1);
  for (int round = 0; round < 200000; ++round) {
    float a[4], b[4], c[4];
    for (float* each : {a, b, c})
      for (int i = 0; i < 4; ++i) each[i] = float_from_bits(static_cast<std::uint32_t>(rng()));
    expect_same(a, b, c);
  }
}

// The sum lies near the middle between two floats, or cancels: c is the rounded product, a neighbour of it, or smaller
// or larger by a power of two.
TEST(SoftFma, CloseCalls) {
  std::mt19937_64 rng(2);
  for (int round = 0; round < 400000; ++round) {
    float a[4], b[4], c[4];
    for (int i = 0; i < 4; ++i) {
      // Few bits set in one of the factors, so that products with long runs of zeros and ones come up.
      const auto few = static_cast<std::uint32_t>(rng() & rng() & rng()) & 0x7fffffu;
      const std::uint32_t exponent = 127 + static_cast<std::uint32_t>(rng() % 40) - (round % 2 == 0 ? 20 : 90);
      a[i] = float_from_bits(exponent << 23 | few);
      b[i] = float_from_bits((exponent + static_cast<std::uint32_t>(rng() % 3)) << 23 |
                             (static_cast<std::uint32_t>(rng()) & 0x7fffffu));
      const int shift = static_cast<int>(rng() % 60) - 30;
      c[i] = std::ldexp(a[i] * b[i], rng() % 2 == 0 ? 0 : shift);
      if (rng() % 4 == 0) c[i] = std::nextafter(c[i], rng() % 2 == 0 ? 0.0f : 1e30f);
      if (rng() % 2 == 0) c[i] = -c[i];
    }
    expect_same(a, b, c);
  }
}

}  // namespace
}  // namespace moekit::cpu
