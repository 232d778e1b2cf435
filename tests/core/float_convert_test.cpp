// SPDX-License-Identifier: Apache-2.0
// Conversions against a second formulation: a format is described by its bit counts, its value by ldexp, and rounding
// by a search for the two neighbours. Nothing is shared with the bit manipulation under test.
#include "core/float_convert.h"

#include <gtest/gtest.h>

#include <cmath>
#include <limits>
#include <random>

namespace moekit {
namespace {

constexpr float kInf = std::numeric_limits<float>::infinity();

/// Value of a positive IEEE-like pattern of `exponent` and `mantissa` bits.
double ieee_value(unsigned pattern, int exponent_bits, int mantissa_bits) {
  const int bias = (1 << (exponent_bits - 1)) - 1;
  const int exponent = static_cast<int>(pattern >> mantissa_bits);
  const double fraction = std::ldexp(static_cast<double>(pattern & ((1u << mantissa_bits) - 1)), -mantissa_bits);
  if (exponent == 0) return std::ldexp(fraction, 1 - bias);
  return std::ldexp(1.0 + fraction, exponent - bias);
}

struct Format {
  int exponent_bits, mantissa_bits;
  float (*widen)(std::uint16_t);
  std::uint16_t (*narrow)(float);
  unsigned infinity() const { return ((1u << exponent_bits) - 1) << mantissa_bits; }
  /// Value of any finite positive pattern, and of the infinity pattern as if the range went on.
  double value(unsigned pattern) const { return ieee_value(pattern, exponent_bits, mantissa_bits); }
};

const Format kBf16 = {8, 7, [](std::uint16_t v) { return bf16_to_float(v); }, [](float v) { return float_to_bf16(v); }};
const Format kFp16 = {5, 10, [](std::uint16_t v) { return fp16_to_float(v); },
                      [](float v) { return float_to_fp16(v); }};

class ShortFloat : public testing::TestWithParam<const Format*> {};

TEST_P(ShortFloat, EveryPatternHasItsValueAndComesBack) {
  const Format& format = *GetParam();
  for (unsigned pattern = 0; pattern < 65536; ++pattern) {
    const unsigned magnitude = pattern & 0x7fffu;
    const float value = format.widen(static_cast<std::uint16_t>(pattern));
    if (magnitude > format.infinity()) {
      ASSERT_TRUE(std::isnan(value)) << pattern;
      const std::uint16_t back = format.narrow(value);
      ASSERT_GT(back & 0x7fffu, format.infinity()) << "NaN " << pattern << " became a number";
      ASSERT_EQ(back & 0x8000u, pattern & 0x8000u) << pattern;
      continue;
    }
    const double expected = magnitude == format.infinity() ? double{kInf} : format.value(magnitude);
    ASSERT_EQ(std::fabs(value), expected) << pattern;
    ASSERT_EQ(std::signbit(value), pattern >= 0x8000u) << pattern;
    ASSERT_EQ(format.narrow(value), pattern);
  }
}

/// Nearest pattern by bisection over the ordered values; ties to the even pattern. Overflow rounds as if the pattern of
/// infinity stood for the next power of two, which is IEEE 754's rule.
unsigned nearest(const Format& format, float magnitude) {
  if (std::isinf(magnitude)) return format.infinity();
  unsigned low = 0, high = format.infinity();
  while (high - low > 1) {
    const unsigned middle = (low + high) / 2;
    (format.value(middle) <= magnitude ? low : high) = middle;
  }
  const double below = magnitude - format.value(low), above = format.value(high) - magnitude;
  if (below == above) return low % 2 == 0 ? low : high;
  return below < above ? low : high;
}

TEST_P(ShortFloat, RoundsToNearestEvenAroundEveryTie) {
  const Format& format = *GetParam();
  for (unsigned pattern = 0; pattern < format.infinity(); ++pattern) {
    const float tie = static_cast<float>((format.value(pattern) + format.value(pattern + 1)) / 2);
    ASSERT_EQ(format.narrow(tie), pattern % 2 == 0 ? pattern : pattern + 1) << pattern;
    ASSERT_EQ(format.narrow(-tie), 0x8000u | (pattern % 2 == 0 ? pattern : pattern + 1)) << pattern;
    ASSERT_EQ(format.narrow(std::nextafter(tie, 0.0f)), pattern) << pattern;
    ASSERT_EQ(format.narrow(std::nextafter(tie, kInf)), pattern + 1) << pattern;
  }
}

TEST_P(ShortFloat, RandomBitsRoundToTheNearestNeighbour) {
  const Format& format = *GetParam();
  std::mt19937 random(20240607);
  for (int i = 0; i < 200000; ++i) {
    const float value = float_from_bits(random());
    if (std::isnan(value)) continue;
    const unsigned expected = nearest(format, std::fabs(value)) | (std::signbit(value) ? 0x8000u : 0u);
    ASSERT_EQ(format.narrow(value), expected) << value;
  }
}

INSTANTIATE_TEST_SUITE_P(Formats, ShortFloat, testing::Values(&kBf16, &kFp16),
                         [](const auto& parameter) { return parameter.param == &kBf16 ? "bf16" : "fp16"; });

TEST(FloatNan, WithItsPayloadInTheLowBitsStaysNan) {
  for (const std::uint32_t bits : {0x7f800001u, 0xff800001u, 0x7f80ffffu, 0x7fbfffffu}) {
    EXPECT_TRUE(std::isnan(round_to_bf16(float_from_bits(bits)))) << std::hex << bits;
    EXPECT_TRUE(std::isnan(fp16_to_float(float_to_fp16(float_from_bits(bits))))) << std::hex << bits;
  }
}

TEST(Float8, E4M3EveryPattern) {
  for (unsigned pattern = 0; pattern < 256; ++pattern) {
    const float value = fp8_e4m3_to_float(static_cast<std::uint8_t>(pattern));
    if ((pattern & 0x7fu) == 0x7fu) {
      EXPECT_TRUE(std::isnan(value)) << pattern;
      continue;
    }
    EXPECT_EQ(std::fabs(value), ieee_value(pattern & 0x7fu, 4, 3)) << pattern;
    EXPECT_EQ(std::signbit(value), pattern >= 128) << pattern;
  }
  EXPECT_EQ(fp8_e4m3_to_float(0x7e), 448.0f);  // the format's largest number
}

TEST(Float8, E5M2EveryPattern) {
  for (unsigned pattern = 0; pattern < 256; ++pattern) {
    const float value = fp8_e5m2_to_float(static_cast<std::uint8_t>(pattern));
    const unsigned magnitude = pattern & 0x7fu;
    if (magnitude > 0x7cu) {
      EXPECT_TRUE(std::isnan(value)) << pattern;
      continue;
    }
    EXPECT_EQ(std::fabs(value), magnitude == 0x7cu ? double{kInf} : ieee_value(magnitude, 5, 2)) << pattern;
    EXPECT_EQ(std::signbit(value), pattern >= 128) << pattern;
  }
  EXPECT_EQ(fp8_e5m2_to_float(0x7b), 57344.0f);
}

TEST(Float8, E8M0EveryPattern) {
  EXPECT_TRUE(std::isnan(fp8_e8m0_to_float(255)));
  EXPECT_EQ(fp8_e8m0_to_float(127), 1.0f);
  for (unsigned pattern = 0; pattern < 254; ++pattern)
    EXPECT_EQ(fp8_e8m0_to_float(static_cast<std::uint8_t>(pattern)) * 2.0f,
              fp8_e8m0_to_float(static_cast<std::uint8_t>(pattern + 1)))
        << pattern;
}

}  // namespace
}  // namespace moekit
