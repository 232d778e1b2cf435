// SPDX-License-Identifier: Apache-2.0
// The operators in the order in which a layer uses them: route, sort, multiply, activate, multiply, bring back.
#include "device.h"

namespace double_test {
namespace {

using Values = std::vector<double>;
constexpr const void* kNone = nullptr;

class Layer : public DeviceTest, public ::testing::WithParamInterface<int> {};

double silu(double x) { return x / (1 + std::exp(-x)); }

TEST_P(Layer, SwiGluExpertsAgainstPlainLoops) {
  const int dtype = GetParam();
  const int64_t tokens = 9, hidden = 16, inner = 12, experts = 6, k = 2, pairs = tokens * k;
  const auto x = random(dtype, {tokens, hidden}), logits = random(dtype, {tokens, experts}, 2.0);
  const auto w13 = random(dtype, {experts, 2 * inner, hidden}, 0.3), w2 = random(dtype, {experts, hidden, inner}, 0.3);
  const auto weights = empty(dtype, {tokens, k}), ids = empty(kInt32, {tokens, k});
  ASSERT_EQ(run("aclnnMoeGatingTopKSoftmaxV2", logits->handle, kNone, k, int64_t{1}, false, weights->handle,
                ids->handle, kNone),
            0)
      << recent_message();
  const auto expanded = empty(dtype, {pairs, hidden}), rows = empty(kInt32, {pairs}), counts = empty(kInt64, {experts});
  ASSERT_EQ(
      run("aclnnMoeInitRoutingV3", x->handle, ids->handle, kNone, kNone, pairs, int64_t{0}, experts, int64_t{0},
          int64_t{1}, true, int64_t{-1}, kNone, int64_t{0}, expanded->handle, rows->handle, counts->handle, kNone),
      0)
      << recent_message();
  const auto up = empty(dtype, {pairs, 2 * inner}), act = empty(dtype, {pairs, inner}),
             down = empty(dtype, {pairs, hidden});
  const auto multiply = [&](const TensorPointer& in, const TensorPointer& weight, const TensorPointer& out) {
    return run("aclnnGroupedMatmulV5", list({in}), transposed_list(weight), kNone, kNone, kNone, kNone, kNone, kNone,
               counts->handle, kNone, kNone, kNone, int64_t{2}, int64_t{0}, int64_t{1}, int64_t{0}, kNone, list({out}),
               kNone, kNone);
  };
  ASSERT_EQ(multiply(expanded, w13, up), 0) << recent_message();
  ASSERT_EQ(run("aclnnSwiGlu", up->handle, int64_t{-1}, act->handle), 0) << recent_message();
  ASSERT_EQ(multiply(act, w2, down), 0) << recent_message();
  const auto y = empty(dtype, {tokens, hidden});
  ASSERT_EQ(run("aclnnMoeTokenUnpermute", down->handle, rows->handle, weights->handle, false, kNone, y->handle), 0)
      << recent_message();

  const Values xs = x->read(), ls = logits->read(), a = w13->read(), b = w2->read(), result = y->read();
  const Values chosen = ids->read();
  double worst = 0;
  for (int64_t t = 0; t < tokens; ++t) {
    Values expected(hidden, 0.0);
    double sum = 0;
    for (int64_t j = 0; j < k; ++j) sum += std::exp(ls[t * experts + static_cast<int64_t>(chosen[t * k + j])]);
    for (int64_t j = 0; j < k; ++j) {
      const auto e = static_cast<int64_t>(chosen[t * k + j]);
      for (int64_t n = 0; n < inner; ++n) {
        double gate = 0, linear = 0;
        for (int64_t i = 0; i < hidden; ++i) {
          gate += a[(e * 2 * inner + n) * hidden + i] * xs[t * hidden + i];
          linear += a[(e * 2 * inner + inner + n) * hidden + i] * xs[t * hidden + i];
        }
        for (int64_t i = 0; i < hidden; ++i) {
          expected[i] += std::exp(ls[t * experts + e]) / sum * silu(gate) * linear * b[(e * hidden + i) * inner + n];
        }
      }
    }
    for (int64_t i = 0; i < hidden; ++i) worst = std::max(worst, std::fabs(expected[i] - result[t * hidden + i]));
  }
  EXPECT_LT(worst, dtype == kFloat ? 1e-5 : dtype == kHalf ? 2e-2 : 1e-1);
}

INSTANTIATE_TEST_SUITE_P(Types, Layer, ::testing::Values(int{kFloat}, int{kHalf}, int{kBfloat}));

}  // namespace
}  // namespace double_test
