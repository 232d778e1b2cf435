// SPDX-License-Identifier: Apache-2.0
// Elementwise operators, products and rearrangements against the C library in double.
#include <algorithm>
#include <functional>

#include "device.h"

namespace double_test {
namespace {

using Values = std::vector<double>;
constexpr const void* kNone = nullptr;

class Elementwise : public DeviceTest, public ::testing::WithParamInterface<int> {
 protected:
  double near(double value) const {
    return (GetParam() == kFloat ? 1e-6 : GetParam() == kHalf ? 1e-3 : 8e-3) * (1 + std::fabs(value));
  }
  void expect(const TensorPointer& out, const std::function<double(size_t)>& expected) {
    const Values result = out->read();
    for (size_t i = 0; i < result.size(); ++i) EXPECT_NEAR(result[i], expected(i), near(expected(i))) << i;
  }
};

TEST_P(Elementwise, OfOneTensor) {
  const auto x = random(GetParam(), {4, 9}, 2), out = empty(GetParam(), {4, 9});
  const Values xs = x->read();
  const std::vector<std::pair<const char*, std::function<double(double)>>> functions{
      {"aclnnSigmoid", [](double v) { return 1 / (1 + std::exp(-v)); }},
      {"aclnnSilu", [](double v) { return v / (1 + std::exp(-v)); }},
      {"aclnnGelu", [](double v) { return v * 0.5 * std::erfc(-v / std::sqrt(2.0)); }},
      {"aclnnRelu", [](double v) { return std::max(v, 0.0); }},
      {"aclnnExp", [](double v) { return std::exp(v); }},
      {"aclnnTanh", [](double v) { return std::tanh(v); }},
      {"aclnnErf", [](double v) { return std::erf(v); }},
      {"aclnnAbs", [](double v) { return std::fabs(v); }},
      {"aclnnNeg", [](double v) { return -v; }},
      {"aclnnReciprocal", [](double v) { return 1 / v; }}};
  for (const auto& [name, function] : functions) {
    ASSERT_EQ(run(name, x->handle, out->handle), 0) << name << recent_message();
    expect(out, [&, f = function](size_t i) { return f(xs[i]); });
  }
  const auto positive = empty(GetParam(), {4, 9});
  ASSERT_EQ(run("aclnnAbs", x->handle, positive->handle), 0);
  ASSERT_EQ(run("aclnnSqrt", positive->handle, out->handle), 0);
  expect(out, [&](size_t i) { return std::sqrt(std::fabs(xs[i])); });
  ASSERT_EQ(run("aclnnLog", positive->handle, out->handle), 0);
  expect(out, [&](size_t i) { return std::log(std::fabs(xs[i])); });
  for (const int64_t form : {0, 1}) {
    ASSERT_EQ(run("aclnnGeluV2", x->handle, form, out->handle), 0);
    expect(out, [&](size_t i) {
      const double v = xs[i];
      return form == 0 ? v * 0.5 * std::erfc(-v / std::sqrt(2.0))
                       : v / (1 + std::exp(-2 * std::sqrt(2 / M_PI) * (v + 0.044715 * v * v * v)));
    });
  }
  EXPECT_EQ(run("aclnnSilu", x->handle, empty(GetParam(), {9, 4})->handle), 161002);
  EXPECT_EQ(run("aclnnSilu", random_integers(kInt32, {4}, 0, 9)->handle, out->handle), 161002);
}

TEST_P(Elementwise, WithScalarsAndInPlace) {
  const auto x = random(GetParam(), {30}, 4), out = empty(GetParam(), {30});
  const Values xs = x->read();
  ASSERT_EQ(run("aclnnMuls", x->handle, scalar(1.5f), out->handle), 0);
  expect(out, [&](size_t i) { return xs[i] * 1.5; });
  ASSERT_EQ(run("aclnnAdds", x->handle, scalar(1.0f), scalar(2.0f), out->handle), 0);
  expect(out, [&](size_t i) { return xs[i] + 2; });
  ASSERT_EQ(run("aclnnDivs", x->handle, scalar(4.0f), out->handle), 0);
  expect(out, [&](size_t i) { return xs[i] / 4; });
  ASSERT_EQ(run("aclnnClamp", x->handle, scalar(-1.0f), scalar(2.0f), out->handle), 0);
  expect(out, [&](size_t i) { return std::min(std::max(xs[i], -1.0), 2.0); });
  ASSERT_EQ(run("aclnnClampMin", x->handle, scalar(0.5f), out->handle), 0);
  expect(out, [&](size_t i) { return std::max(xs[i], 0.5); });
  ASSERT_EQ(run("aclnnPowTensorScalar", x->handle, scalar(2.0f), out->handle), 0);
  expect(out, [&](size_t i) { return xs[i] * xs[i]; });
  ASSERT_EQ(run("aclnnSoftplus", x->handle, scalar(1.0f), scalar(20.0f), out->handle), 0);
  expect(out, [&](size_t i) { return std::log1p(std::exp(xs[i])); });
  ASSERT_EQ(run("aclnnClampMax", x->handle, scalar(0.5f), x->handle), 0) << "in place";
  expect(x, [&](size_t i) { return std::min(xs[i], 0.5); });
  EXPECT_EQ(run("aclnnMuls", x->handle, kNone, out->handle), 161001);
  EXPECT_EQ(run("aclnnClamp", x->handle, kNone, kNone, out->handle), 161001);
}

TEST_P(Elementwise, OfTwoTensorsWithBroadcast) {
  const auto a = random(GetParam(), {3, 5}), b = random(GetParam(), {5}), c = random(GetParam(), {3, 1});
  const auto out = empty(GetParam(), {3, 5});
  const Values as = a->read(), bs = b->read(), cs = c->read();
  ASSERT_EQ(run("aclnnMul", a->handle, b->handle, out->handle), 0) << recent_message();
  expect(out, [&](size_t i) { return as[i] * bs[i % 5]; });
  ASSERT_EQ(run("aclnnAdd", a->handle, c->handle, scalar(-2.0f), out->handle), 0);
  expect(out, [&](size_t i) { return as[i] - 2 * cs[i / 5]; });
  ASSERT_EQ(run("aclnnSub", b->handle, c->handle, scalar(1.0f), out->handle), 0);
  expect(out, [&](size_t i) { return bs[i % 5] - cs[i / 5]; });
  ASSERT_EQ(run("aclnnDiv", a->handle, b->handle, out->handle), 0);
  expect(out, [&](size_t i) { return as[i] / bs[i % 5]; });
  ASSERT_EQ(run("aclnnMaximum", a->handle, c->handle, out->handle), 0);
  expect(out, [&](size_t i) { return std::max(as[i], cs[i / 5]); });
  ASSERT_EQ(run("aclnnInplaceMul", a->handle, c->handle), 0) << recent_message();
  expect(a, [&](size_t i) { return as[i] * cs[i / 5]; });
  const Values scaled = a->read();
  ASSERT_EQ(run("aclnnInplaceAdd", a->handle, b->handle, scalar(3.0f)), 0) << recent_message();
  expect(a, [&](size_t i) { return scaled[i] + 3 * bs[i % 5]; });
  EXPECT_EQ(run("aclnnMul", a->handle, random(GetParam(), {4})->handle, out->handle), 161002);
  EXPECT_EQ(run("aclnnMul", a->handle, random_integers(kInt32, {5}, 0, 3)->handle, out->handle), 161002);
}

TEST_P(Elementwise, Products) {
  const int64_t m = 4, k = 7, n = 3;
  const auto a = random(GetParam(), {m, k}), stored = random(GetParam(), {n, k}), out = empty(GetParam(), {m, n});
  const Values as = a->read(), bs = stored->read();
  const auto product = [&](size_t i) {
    double sum = 0;
    for (int64_t x = 0; x < k; ++x) sum += as[i / n * k + x] * bs[i % n * k + x];
    return sum;
  };
  const void* const b = view(stored, {k, n}, {1, k}, 0);
  for (const char* name : {"aclnnMm", "aclnnMatmul"}) {
    ASSERT_EQ(run(name, a->handle, b, out->handle, int8_t{0}), 0) << recent_message();
    expect(out, product);
  }
  const auto bias = random(GetParam(), {n});
  ASSERT_EQ(run("aclnnAddmm", bias->handle, a->handle, b, scalar(2.0f), scalar(0.5f), out->handle, int8_t{0}), 0)
      << recent_message();
  expect(out, [&](size_t i) { return 2 * bias->read()[i % n] + 0.5 * product(i); });
  EXPECT_EQ(run("aclnnMm", a->handle, a->handle, out->handle, int8_t{0}), 161002);
  EXPECT_EQ(run("aclnnMm", a->handle, b, out->handle, int8_t{7}), 161002);
}

TEST_P(Elementwise, Rearrangements) {
  const auto x = random(GetParam(), {4, 6}), index = tensor(kInt32, {3}, {2, 0, 2}), out = empty(GetParam(), {3, 6});
  const Values xs = x->read();
  ASSERT_EQ(run("aclnnIndexSelect", x->handle, int64_t{0}, index->handle, out->handle), 0) << recent_message();
  for (int i = 0; i < 18; ++i) EXPECT_EQ(out->read()[i], xs[(i / 6 == 1 ? 0 : 2) * 6 + i % 6]);
  EXPECT_EQ(run("aclnnIndexSelect", x->handle, int64_t{0}, tensor(kInt32, {3}, {0, 4, 0})->handle, out->handle),
            507015);
  expect_violation("device range");
  const auto chosen = random_integers(kInt64, {4, 2}, 0, 5), picked = empty(GetParam(), {4, 2});
  ASSERT_EQ(run("aclnnGather", x->handle, int64_t{1}, chosen->handle, picked->handle), 0) << recent_message();
  for (int i = 0; i < 8; ++i) EXPECT_EQ(picked->read()[i], xs[i / 2 * 6 + static_cast<int>(chosen->read()[i])]);
  const auto soft = empty(GetParam(), {4, 6});
  ASSERT_EQ(run("aclnnSoftmax", x->handle, int64_t{0}, soft->handle), 0);
  expect(soft, [&](size_t i) {
    double sum = 0;
    for (int row = 0; row < 4; ++row) sum += std::exp(xs[row * 6 + i % 6]);
    return std::exp(xs[i]) / sum;
  });
  const int64_t last[] = {-1};
  const void* const dims = call<const void*>("aclCreateIntArray", &last[0], uint64_t{1});
  const auto sums = empty(kFloat, {4, 1});
  ASSERT_EQ(run("aclnnReduceSum", x->handle, dims, true, int{kFloat}, sums->handle), 0) << recent_message();
  expect(sums, [&](size_t i) {
    double sum = 0;
    for (int c = 0; c < 6; ++c) sum += xs[i * 6 + c];
    return sum;
  });
  EXPECT_EQ(status("aclDestroyIntArray", dims), 0);
  const auto values = empty(GetParam(), {4, 2}), at = empty(kInt64, {4, 2});
  ASSERT_EQ(run("aclnnTopk", x->handle, int64_t{2}, int64_t{-1}, true, true, values->handle, at->handle), 0)
      << recent_message();
  for (int row = 0; row < 4; ++row) {
    Values sorted(xs.begin() + row * 6, xs.begin() + row * 6 + 6);
    std::sort(sorted.rbegin(), sorted.rend());
    EXPECT_EQ(values->read()[row * 2 + 1], sorted[1]);
  }
  const auto copy = empty(kFloat, {4, 6});
  ASSERT_EQ(run("aclnnInplaceCopy", copy->handle, x->handle), 0);
  EXPECT_EQ(copy->read(), xs);
  ASSERT_EQ(run("aclnnInplaceFillScalar", copy->handle, scalar(2.5f)), 0);
  EXPECT_EQ(copy->read(), Values(24, 2.5));
  ASSERT_EQ(run("aclnnInplaceZero", copy->handle), 0);
  EXPECT_EQ(copy->read(), Values(24, 0.0));
}

TEST_P(Elementwise, MasksAndNumbers) {
  const auto x = tensor(GetParam(), {6}, {-2, -1, 0, 1, INFINITY, NAN}), mask = empty(kBool, {6});
  ASSERT_EQ(run("aclnnGeScalar", x->handle, scalar(0.0f), mask->handle), 0) << recent_message();
  EXPECT_EQ(mask->read(), (Values{0, 0, 1, 1, 1, 0}));
  ASSERT_EQ(run("aclnnLtScalar", x->handle, scalar(0.0f), mask->handle), 0) << recent_message();
  EXPECT_EQ(mask->read(), (Values{1, 1, 0, 0, 0, 0}));
  const auto out = empty(GetParam(), {6});
  ASSERT_EQ(run("aclnnNanToNum", x->handle, 7.0f, 8.0f, 9.0f, out->handle), 0) << recent_message();
  EXPECT_EQ(out->read(), (Values{-2, -1, 0, 1, 8, 7}));
  ASSERT_EQ(run("aclnnInplaceMaskedFillScalar", out->handle, mask->handle, scalar(5.0f)), 0) << recent_message();
  EXPECT_EQ(out->read(), (Values{5, 5, 0, 1, 8, 7}));
}

TEST_P(Elementwise, CopiesIntoEveryOtherElement) {
  const auto x = random(GetParam(), {2, 3}), out = tensor(GetParam(), {2, 6}, Values(12, 1.0));
  ASSERT_EQ(run("aclnnInplaceCopy", view(out, {2, 3}, {6, 2}, 1), x->handle), 0) << recent_message();
  const Values xs = x->read(), result = out->read();
  for (int i = 0; i < 12; ++i) EXPECT_EQ(result[i], i % 2 == 1 ? xs[i / 2] : 1.0) << i;
}

INSTANTIATE_TEST_SUITE_P(Types, Elementwise, ::testing::Values(int{kFloat}, int{kHalf}, int{kBfloat}));

}  // namespace
}  // namespace double_test
