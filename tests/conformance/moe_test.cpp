// SPDX-License-Identifier: Apache-2.0
// The dense softmax module.
#include "moekit/moe.h"

#include <gtest/gtest.h>

#include <cmath>
#include <random>
#include <stdexcept>
#include <vector>

#include "core/float_convert.h"

namespace moekit {
namespace {

std::vector<float> uniform(std::size_t count, std::uint32_t seed) {
  std::mt19937 rng(seed);
  std::vector<float> values(count);
  for (float& value : values) value = std::uniform_real_distribution<float>(-1.0f, 1.0f)(rng);
  return values;
}

std::vector<float> forward(const MoE& moe, const std::vector<float>& x, std::int64_t rows) {
  std::vector<float> y(static_cast<std::size_t>(rows * moe.output_dim()));
  moe.forward({x.data(), DType::kFloat32, rows, moe.input_dim(), moe.input_dim(), 1},
              {y.data(), DType::kFloat32, rows, moe.output_dim(), moe.output_dim()});
  return y;
}

// Values that bfloat16 holds, for one test of both dtypes: the sum of the products differs in rounding only.
struct Values {
  std::vector<float> exact;
  std::vector<std::uint16_t> bf16;

  Values(std::size_t count, std::uint32_t seed) : exact(uniform(count, seed)), bf16(count) {
    for (std::size_t i = 0; i < count; ++i) {
      bf16[i] = float_to_bf16(exact[i]);
      exact[i] = bf16_to_float(bf16[i]);
    }
  }
  const void* at(std::size_t i, DType dtype) const {
    return dtype == DType::kFloat32 ? static_cast<const void*>(&exact[i]) : &bf16[i];
  }
  float operator[](std::size_t i) const { return exact[i]; }
};

// y = sum_e softmax(x Wg^T + bg)_e (x We^T + be), in float64.
void expect_dense_formula(DType dtype, bool bias) {
  constexpr std::int64_t kExperts = 4, kIn = 10, kOut = 5, kRows = 32;
  const Values weights(kExperts * kOut * kIn, 1), biases(kExperts * kOut, 2), gate(kExperts * kIn, 3),
      gate_bias(kExperts, 4);
  const std::vector<float> x = uniform(kRows * kIn, 5);
  MoE::Parameters parameters;
  parameters.dtype = dtype;
  for (std::size_t e = 0; e < kExperts; ++e) {
    parameters.expert_weights.push_back(weights.at(e * kOut * kIn, dtype));
    if (bias) parameters.expert_biases.push_back(biases.at(e * kOut, dtype));
  }
  parameters.gate_weight = gate.at(0, dtype);
  parameters.gate_bias = bias ? gate_bias.at(0, dtype) : nullptr;
  const MoE moe(kExperts, kIn, kOut, parameters);
  const std::vector<float> y = forward(moe, x, kRows);
  for (std::size_t t = 0; t < kRows; ++t) {
    double z[kExperts], sum = 0.0;
    for (std::size_t e = 0; e < kExperts; ++e) {
      z[e] = bias ? gate_bias[e] : 0.0;
      for (std::size_t i = 0; i < kIn; ++i) z[e] += double{gate[e * kIn + i]} * double{x[t * kIn + i]};
      sum += std::exp(z[e]);
    }
    for (std::size_t o = 0; o < kOut; ++o) {
      double want = 0.0;
      for (std::size_t e = 0; e < kExperts; ++e) {
        double out = bias ? biases[e * kOut + o] : 0.0;
        for (std::size_t i = 0; i < kIn; ++i) out += double{weights[(e * kOut + o) * kIn + i]} * double{x[t * kIn + i]};
        want += std::exp(z[e]) / sum * out;
      }
      EXPECT_NEAR(y[t * kOut + o], want, 2e-6);
    }
  }
}

TEST(MoE, IsTheDenseFormula) {
  for (const DType dtype : {DType::kFloat32, DType::kBFloat16})
    for (const bool bias : {true, false}) {
      SCOPED_TRACE(dtype_name(dtype));
      expect_dense_formula(dtype, bias);
    }
}

TEST(MoE, DrawsTheSameParametersForASeed) {
  const std::vector<float> x = uniform(3 * 6, 6);
  const MoE a(3, 6, 4, 7), b(3, 6, 4, 7), c(3, 6, 4, 8);
  EXPECT_EQ(forward(a, x, 3), forward(b, x, 3));
  EXPECT_NE(forward(a, x, 3), forward(c, x, 3));
}

// With x = 0 the output is a convex combination of expert biases, so it lies within their bound.
TEST(MoE, DrawsWithinTheBound) {
  const MoE moe(8, 25, 200, 9);
  const std::vector<float> y = forward(moe, std::vector<float>(25, 0.0f), 1);
  double largest = 0.0;
  for (const float value : y) largest = std::max(largest, std::fabs(double{value}));
  EXPECT_LE(largest, 0.2);  // 1 / sqrt(25)
  EXPECT_GT(largest, 0.05);
}

TEST(MoE, SizesBelowOneAreErrors) {
  EXPECT_THROW(MoE(0, 1, 1), std::invalid_argument);
  EXPECT_THROW(MoE(1, 0, 1), std::invalid_argument);
  EXPECT_THROW(MoE(1, 1, -5), std::invalid_argument);
  EXPECT_THROW(MoE(std::int64_t{1} << 20, std::int64_t{1} << 28, std::int64_t{1} << 28), std::invalid_argument);
  EXPECT_THROW(MoE(2, 2, 2, MoE::Parameters{}), std::invalid_argument);
}

}  // namespace
}  // namespace moekit
