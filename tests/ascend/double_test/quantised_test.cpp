// SPDX-License-Identifier: Apache-2.0
// The int8 path: dynamic quantisation, dequantisation with SwiGLU, and the fused product, each against plain loops.
#include "device.h"

namespace double_test {
namespace {

using Values = std::vector<double>;
constexpr const void* kNone = nullptr;

double silu(double x) { return x / (1 + std::exp(-x)); }

class Quantised : public DeviceTest {
 protected:
  // q * scale is within half a step of the value, and the scale is that of the largest.
  static void expect_row(const Values& q, const Values& scale, int64_t row, const Values& expected) {
    double largest = 0;
    for (const double value : expected) largest = std::max(largest, std::fabs(value));
    EXPECT_NEAR(scale[row], largest / 127, largest * 1e-5);
    for (size_t i = 0; i < expected.size(); ++i) {
      EXPECT_NEAR(q[row * expected.size() + i] * scale[row], expected[i], scale[row] * 0.51 + 1e-12);
    }
  }
};

TEST_F(Quantised, RowByRow) {
  const int64_t rows = 5, width = 12;
  for (const int dtype : {kHalf, kBfloat}) {
    const auto x = random(dtype, {rows, width}, 3), q = empty(kInt8, {rows, width}), scale = empty(kFloat, {rows});
    const auto smooth = random(dtype, {width});
    for (const bool smoothed : {false, true}) {
      ASSERT_EQ(run("aclnnDynamicQuant", x->handle, smoothed ? smooth->handle : kNone, q->handle, scale->handle), 0)
          << recent_message();
      for (int64_t r = 0; r < rows; ++r) {
        Values expected;
        for (int64_t i = 0; i < width; ++i) {
          expected.push_back(x->read()[r * width + i] * (smoothed ? smooth->read()[i] : 1));
        }
        expect_row(q->read(), scale->read(), r, expected);
      }
    }
  }
  const auto zeros = tensor(kHalf, {1, 4}, {0, 0, 0, 0}), q = empty(kInt8, {1, 4}), scale = empty(kFloat, {1});
  ASSERT_EQ(run("aclnnDynamicQuant", zeros->handle, kNone, q->handle, scale->handle), 0);
  EXPECT_EQ(q->read(), (Values{0, 0, 0, 0}));
  EXPECT_EQ(run("aclnnDynamicQuant", random(kFloat, {1, 4})->handle, kNone, q->handle, scale->handle), 161002);
}

TEST_F(Quantised, DequantSwigluQuantByGroups) {
  const int64_t rows = 9, half = 6, width = 2 * half, groups = 3;
  const Values counts{2, 0, 5};
  const auto x = random_integers(kInt32, {rows, width}, -3000, 3000), weight = random(kFloat, {groups, width}, 0.02);
  const auto token = random(kFloat, {rows}, 0.1), group = tensor(kInt64, {groups}, counts);
  const auto q = empty(kInt8, {rows, half}), scale = empty(kFloat, {rows});
  char mode[] = "dynamic";
  for (const bool left : {true, false}) {
    ASSERT_EQ(run("aclnnDequantSwigluQuant", x->handle, weight->handle, token->handle, kNone, kNone, kNone,
                  group->handle, left, static_cast<char*>(mode), q->handle, scale->handle),
              0)
        << recent_message();
    const Values xs = x->read(), w = weight->read(), t = token->read();
    for (int64_t row = 0; row < 7; ++row) {
      const int64_t g = row < 2 ? 0 : 2;
      Values expected;
      for (int64_t i = 0; i < half; ++i) {
        const double a = xs[row * width + i] * w[g * width + i] * t[row];
        const double b = xs[row * width + half + i] * w[g * width + half + i] * t[row];
        expected.push_back(left ? silu(a) * b : a * silu(b));
      }
      expect_row(q->read(), scale->read(), row, expected);
    }
    const auto bytes = q->read_bytes();
    for (size_t i = static_cast<size_t>(7 * half); i < bytes.size(); ++i) ASSERT_EQ(bytes[i], 0xCD);
  }
  EXPECT_EQ(run("aclnnDequantSwigluQuant", x->handle, kNone, token->handle, kNone, kNone, kNone, group->handle, true,
                static_cast<char*>(mode), q->handle, scale->handle),
            161002);
}

TEST_F(Quantised, DequantSwigluQuantWithBiasAndStatically) {
  const int64_t rows = 4, half = 5, width = 2 * half;
  const auto x = random_integers(kInt32, {rows, width}, -300, 300), weight = random(kFloat, {width}, 0.02);
  const auto token = random(kFloat, {rows}, 0.5), q = empty(kInt8, {rows, half}), scale = empty(kFloat, {rows});
  const auto step = random(kFloat, {half}, 5), shift = random(kFloat, {half}, 3);
  const Values xs = x->read(), w = weight->read(), t = token->read(), s = step->read(), o = shift->read();
  for (const int bias_type : {kInt32, kFloat}) {
    const auto bias = bias_type == kInt32 ? random_integers(kInt32, {width}, -200, 200) : random(kFloat, {width});
    const Values b = bias->read();
    const auto value = [&](int64_t row, int64_t at) {  // an integer bias is of the sums, a float one of the result
      return bias_type == kInt32 ? (xs[row * width + at] + b[at]) * w[at] * t[row]
                                 : xs[row * width + at] * w[at] * t[row] + b[at];
    };
    char dynamic[] = "dynamic", fixed[] = "static";
    ASSERT_EQ(run("aclnnDequantSwigluQuant", x->handle, weight->handle, token->handle, bias->handle, step->handle,
                  kNone, kNone, true, static_cast<char*>(dynamic), q->handle, scale->handle),
              0)
        << recent_message();
    for (int64_t row = 0; row < rows; ++row) {
      Values expected;
      for (int64_t i = 0; i < half; ++i) expected.push_back(silu(value(row, i)) * value(row, half + i) * s[i]);
      expect_row(q->read(), scale->read(), row, expected);
    }
    ASSERT_EQ(run("aclnnDequantSwigluQuant", x->handle, weight->handle, token->handle, bias->handle, step->handle,
                  shift->handle, kNone, true, static_cast<char*>(fixed), q->handle, scale->handle),
              0)
        << recent_message();
    const Values result = q->read();
    for (int64_t i = 0; i < rows * half; ++i) {
      const double plain =
          silu(value(i / half, i % half)) * value(i / half, half + i % half) * s[i % half] + o[i % half];
      EXPECT_NEAR(result[i], std::min(127.0, std::max(-128.0, plain)), 0.501) << i;
    }
  }
}

TEST_F(Quantised, FusedProductEqualsItsParts) {
  const int64_t rows = 8, inner = 16, half = 5, width = 2 * half, experts = 3;
  const auto x = random_integers(kInt8, {rows, inner}, -127, 127),
             w = random_integers(kInt8, {experts, inner, width}, -127, 127);
  const auto weight_scale = random(kFloat, {experts, width}, 0.01), x_scale = random(kFloat, {rows}, 0.01);
  const auto sums = tensor(kInt64, {experts}, {4, 4, 7}), counts = tensor(kInt64, {experts}, {4, 0, 3});
  const auto q = empty(kInt8, {rows, half}), scale = empty(kFloat, {rows});
  ASSERT_EQ(run("aclnnGroupedMatmulSwigluQuant", x->handle, w->handle, kNone, kNone, weight_scale->handle,
                x_scale->handle, sums->handle, q->handle, scale->handle, kNone),
            0)
      << recent_message();
  const auto raw = empty(kInt32, {rows, width}), q2 = empty(kInt8, {rows, half}), scale2 = empty(kFloat, {rows});
  ASSERT_EQ(run("aclnnGroupedMatmulV4", list({x}), list({w}), kNone, kNone, kNone, kNone, kNone, kNone, counts->handle,
                kNone, kNone, kNone, int64_t{2}, int64_t{0}, int64_t{1}, int64_t{0}, list({raw}), kNone, kNone),
            0)
      << recent_message();
  char mode[] = "dynamic";
  ASSERT_EQ(run("aclnnDequantSwigluQuant", raw->handle, weight_scale->handle, x_scale->handle, kNone, kNone, kNone,
                counts->handle, true, static_cast<char*>(mode), q2->handle, scale2->handle),
            0)
      << recent_message();
  EXPECT_EQ(q->read_bytes(), q2->read_bytes()) << "the row beyond the list is poison in both";
  EXPECT_EQ(scale->read_bytes(), scale2->read_bytes());
}

}  // namespace
}  // namespace double_test
