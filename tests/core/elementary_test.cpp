// SPDX-License-Identifier: Apache-2.0
// The library's own elementary functions: as exact as rounding allows, and the same bits everywhere.
#include "core/elementary.h"

#include <gtest/gtest.h>

#include <cmath>
#include <limits>
#include <random>

#include "core/float_convert.h"
#include "core/xxh64.h"

namespace moekit {
namespace {

constexpr float kInfinity = std::numeric_limits<float>::infinity();

// Distance in units of the last place of `got`, from a value of higher precision.
double ulps(float got, double want) {
  if (static_cast<float>(want) == got) return 0.0;  // infinities too
  const double unit = std::nextafter(std::fabs(got), kInfinity) - static_cast<double>(std::fabs(got));
  return std::fabs(static_cast<double>(got) - want) / unit;
}

struct Function {
  const char* name;
  float (*got)(float);
  double (*want)(double);
  float low, high;
  const char* hash;  // of a million results
};
const Function kFunctions[] = {
    {"exp", elementary::exp, [](double x) { return std::exp(x); }, -110.0f, 95.0f, "c78680b1dc04d05a"},
    {"sigmoid", elementary::sigmoid, [](double x) { return 1.0 / (1.0 + std::exp(-x)); }, -95.0f, 40.0f,
     "114bd9324202da1b"},
    {"softplus", elementary::softplus, [](double x) { return std::log1p(std::exp(x)); }, -100.0f, 95.0f,
     "89a7585f0975dc5e"},
    {"tanh", elementary::tanh, [](double x) { return std::tanh(x); }, -12.0f, 12.0f, "41c57c019ceaef0b"},
    {"tanh near 0", elementary::tanh, [](double x) { return std::tanh(x); }, -0.03f, 0.03f, "fbf2ffea64131250"},
    {"cube root", [](float x) { return elementary::pow(std::fabs(x), 1.0 / 3.0); },
     [](double x) { return std::pow(std::fabs(x), 1.0 / 3.0); }, -5.0f, 5.0f, "24d62e057d1451b2"},
    {"power 2.5", [](float x) { return elementary::pow(std::fabs(x), 2.5); },
     [](double x) { return std::pow(std::fabs(x), 2.5); }, -1e4f, 1e4f, "acc1f51ece15d5fe"},
};

TEST(Elementary, HalfAnUlpAndTheSameBits) {
  for (const Function& function : kFunctions) {
    std::mt19937_64 rng(3);
    Xxh64 hash;
    double worst = 0.0;
    for (int i = 0; i < 1000000; ++i) {
      const float x = function.low + (function.high - function.low) * (static_cast<float>(rng() >> 40) * 0x1p-24f);
      const float got = function.got(x);
      hash.update(&got, sizeof got);
      worst = std::max(worst, ulps(got, function.want(static_cast<double>(x))));
    }
    EXPECT_LT(worst, function.got == elementary::tanh ? 0.505 : 0.501) << function.name;
    EXPECT_EQ(hex64(hash.digest()), function.hash) << function.name;
  }
}

TEST(Elementary, EdgesAreThoseOfTheCLibrary) {
  const float nan = std::numeric_limits<float>::quiet_NaN(), tiny = std::numeric_limits<float>::denorm_min();
  for (const float x :
       {0.0f, -0.0f, kInfinity, -kInfinity, tiny, -tiny, 1e-30f, 88.7f, 88.8f, -103.9f, -104.1f, 3e38f}) {
    EXPECT_EQ(elementary::exp(x), std::exp(x)) << x;
    EXPECT_EQ(bits_from_float(elementary::tanh(x)), bits_from_float(std::tanh(x))) << x;
    EXPECT_EQ(elementary::sigmoid(x), static_cast<float>(1.0 / (1.0 + std::exp(-static_cast<double>(x))))) << x;
    if (x >= 0.0f) {
      EXPECT_EQ(elementary::pow(x, 0.7), static_cast<float>(std::pow(static_cast<double>(x), 0.7))) << x;
    }
  }
  EXPECT_EQ(elementary::softplus(-kInfinity), 0.0f);
  for (const auto function : {elementary::exp, elementary::tanh, elementary::sigmoid, elementary::softplus})
    EXPECT_TRUE(std::isnan(function(nan)));
  EXPECT_TRUE(std::isnan(elementary::pow(nan, 2.0)));
}

}  // namespace
}  // namespace moekit
