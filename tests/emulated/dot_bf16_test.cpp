// SPDX-License-Identifier: Apache-2.0
// The emulation of AVX512-BF16 itself, against the operation written element by element.
#include "emulated/dot_bf16.h"

#include <gtest/gtest.h>

#include <cmath>
#include <cstdint>
#include <cstring>
#include <random>

#include "core/float_convert.h"
#include "emulated/no_subnormal.h"

namespace moekit::emulated {
namespace {

float widened(std::uint16_t bits) { return no_subnormal(bf16_to_float(bits)); }

// All bit patterns in turn meet random ones of a narrow and of the whole range.
TEST(DotBf16, IsTwoFusedMultiplyAddsOddFirst) {
  std::mt19937 random(1);
  for (std::uint32_t first = 0; first < 0x10000; first += 32) {
    std::uint16_t a[32], b[32];
    float c[16], got[16];
    for (std::uint32_t i = 0; i < 32; ++i) {
      a[i] = static_cast<std::uint16_t>(first + i);
      b[i] = static_cast<std::uint16_t>(random());
      if (first / 32 % 2 == 0) b[i] = static_cast<std::uint16_t>((b[i] & 0x87ff) | 0x3c00);
    }
    for (int i = 0; i < 16; ++i)
      c[i] = i % 4 == 0 ? bf16_to_float(static_cast<std::uint16_t>(random())) : 1.0f / static_cast<float>(i);
    dot_bf16(c, a, b, got);
    for (int i = 0; i < 16; ++i) {
      const float odd = no_subnormal(std::fma(widened(a[2 * i + 1]), widened(b[2 * i + 1]), no_subnormal(c[i])));
      const float want = no_subnormal(std::fma(widened(a[2 * i]), widened(b[2 * i]), odd));
      if (std::isnan(want)) {
        ASSERT_TRUE(std::isnan(got[i]));
      } else {
        ASSERT_EQ(std::memcmp(&got[i], &want, 4), 0) << got[i] << ", expected " << want;
      }
    }
  }
}

// An order or a rounding of its own would show here: 1 + 2^-24 + 2^-24 is 1 one after the other, 1 + 2^-23 together.
TEST(DotBf16, RoundsAfterEachProduct) {
  std::uint16_t a[32] = {}, b[32] = {};
  float c[16] = {1.0f, 0.0f}, got[16];
  a[0] = a[1] = float_to_bf16(0x1p-12f);
  b[0] = b[1] = float_to_bf16(0x1p-12f);
  // The odd product first: 2^100 - 2^100 + 1 is 1, the other way round 0.
  a[3] = float_to_bf16(0x1p50f), b[3] = float_to_bf16(-0x1p50f), c[1] = 0x1p100f;
  a[2] = b[2] = float_to_bf16(1.0f);
  dot_bf16(c, a, b, got);
  EXPECT_EQ(got[0], 1.0f);
  EXPECT_EQ(got[1], 1.0f);
}

TEST(RoundBf16, IsToNearestEvenWithoutSubnormalNumbers) {
  std::mt19937 random(2);
  for (int round = 0; round < 20000; ++round) {
    float x[32];
    std::uint16_t got[32];
    for (float& value : x) {
      const auto bits = static_cast<std::uint32_t>(random()) & (round % 2 == 0 ? 0xffffffffu : 0xffff8000u);
      std::memcpy(&value, &bits, 4);
    }
    round_bf16(x + 16, x, got);
    for (int i = 0; i < 32; ++i) {
      if (std::isnan(x[i])) {
        ASSERT_TRUE(std::isnan(bf16_to_float(got[i])));
      } else {
        ASSERT_EQ(got[i], float_to_bf16(no_subnormal(x[i]))) << x[i];
      }
    }
  }
}

}  // namespace
}  // namespace moekit::emulated
