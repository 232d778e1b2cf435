// SPDX-License-Identifier: Apache-2.0
// The gating operators against plain loops in double.
#include <algorithm>
#include <numeric>

#include "device.h"

namespace double_test {
namespace {

using Values = std::vector<double>;
constexpr const void* kNone = nullptr;

double tolerance(int dtype) { return dtype == kFloat ? 2e-6 : dtype == kHalf ? 1e-3 : 8e-3; }

Values softmax(Values row) {
  const double largest = *std::max_element(row.begin(), row.end());
  double sum = 0;
  for (double& value : row) sum += value = std::exp(value - largest);
  for (double& value : row) value /= sum;
  return row;
}

std::vector<int> best(const Values& row, int64_t k) {
  std::vector<int> order(row.size());
  std::iota(order.begin(), order.end(), 0);
  std::stable_sort(order.begin(), order.end(), [&](int a, int b) { return row[a] > row[b]; });
  order.resize(static_cast<size_t>(k));
  return order;
}

Values row_of(const Values& all, int64_t row, int64_t width) {
  return Values(all.begin() + row * width, all.begin() + (row + 1) * width);
}

class Gating : public DeviceTest, public ::testing::WithParamInterface<int> {
 protected:
  // Logits without ties, also after rounding to 8 bits: distinct multiples of 1/16.
  TensorPointer logits(int64_t tokens, int64_t experts) {
    Values values;
    for (int64_t t = 0; t < tokens; ++t) {
      Values row(static_cast<size_t>(experts));
      for (int64_t e = 0; e < experts; ++e) row[e] = static_cast<double>(e - experts / 2) / 16;
      std::shuffle(row.begin(), row.end(), random_);
      values.insert(values.end(), row.begin(), row.end());
    }
    return tensor(GetParam(), {tokens, experts}, values);
  }
};

TEST_P(Gating, SoftmaxThenTopK) {
  const int64_t tokens = 7, experts = 24, k = 5;
  const auto x = logits(tokens, experts), y = empty(GetParam(), {tokens, k});
  const auto ids = empty(kInt32, {tokens, k}), rows = empty(kInt32, {tokens, k});
  const auto finished = tensor(kBool, {tokens}, {0, 1, 0, 0, 0, 0, 1});
  ASSERT_EQ(run("aclnnMoeGatingTopKSoftmax", x->handle, finished->handle, k, y->handle, ids->handle, rows->handle), 0)
      << recent_message();
  const auto xs = x->read(), ys = y->read(), chosen = ids->read(), order = rows->read();
  for (int64_t t = 0; t < tokens; ++t) {
    const Values p = softmax(row_of(xs, t, experts));
    const auto expected = best(p, k);
    for (int64_t j = 0; j < k; ++j) {
      EXPECT_EQ(chosen[t * k + j], t == 1 || t == 6 ? experts : expected[j]);
      EXPECT_NEAR(ys[t * k + j], p[expected[j]], tolerance(GetParam()));
      EXPECT_EQ(order[t * k + j], j * tokens + t);
    }
  }
}

TEST_P(Gating, SoftmaxV2RenormalisesAndKeepsTheSoftmax) {
  const int64_t tokens = 5, experts = 16, k = 3;
  const auto x = logits(tokens, experts), y = empty(GetParam(), {tokens, k}), ids = empty(kInt32, {tokens, k});
  const auto all = empty(kFloat, {tokens, experts});
  for (const int64_t renorm : {0, 1}) {
    ASSERT_EQ(run("aclnnMoeGatingTopKSoftmaxV2", x->handle, kNone, k, renorm, renorm == 0, y->handle, ids->handle,
                  renorm == 0 ? all->handle : kNone),
              0)
        << recent_message();
    const auto xs = x->read(), ys = y->read(), chosen = ids->read();
    for (int64_t t = 0; t < tokens; ++t) {
      const Values p = softmax(row_of(xs, t, experts));
      const auto expected = best(p, k);
      double sum = 0;
      for (const int e : expected) sum += p[e];
      for (int64_t j = 0; j < k; ++j) {
        EXPECT_EQ(chosen[t * k + j], expected[j]);
        EXPECT_NEAR(ys[t * k + j], p[expected[j]] / (renorm ? sum : 1), tolerance(GetParam()));
      }
      if (renorm == 0) {
        for (int64_t e = 0; e < experts; ++e) EXPECT_NEAR(all->read()[t * experts + e], p[e], 1e-6);
      }
    }
  }
}

TEST_P(Gating, SigmoidWithBiasAndGroups) {
  const int64_t tokens = 6, experts = 32, groups = 4, kept = 2, k = 6, size = experts / groups;
  const auto x = logits(tokens, experts), y = empty(GetParam(), {tokens, k}), ids = empty(kInt32, {tokens, k});
  const auto all = empty(kFloat, {tokens, experts}), bias = random(GetParam(), {experts}, 0.2);
  for (const int64_t mode : {0, 1}) {
    ASSERT_EQ(run("aclnnMoeGatingTopK", x->handle, bias->handle, k, kept, groups, mode, int64_t{0}, int64_t{1}, true,
                  2.5, 1e-20, y->handle, ids->handle, all->handle),
              0)
        << recent_message();
    const auto xs = x->read(), bs = bias->read(), ys = y->read(), chosen = ids->read(), scores = all->read();
    for (int64_t t = 0; t < tokens; ++t) {
      Values s(experts), choice(experts);
      for (int64_t e = 0; e < experts; ++e) choice[e] = bs[e] + (s[e] = 1 / (1 + std::exp(-xs[t * experts + e])));
      Values of_group;
      for (int64_t g = 0; g < groups; ++g) {
        Values members = row_of(choice, g, size);
        std::sort(members.rbegin(), members.rend());
        of_group.push_back(mode == 0 ? members[0] : members[0] + members[1]);
      }
      const auto stay = best(of_group, kept);
      for (int64_t e = 0; e < experts; ++e) {
        if (std::find(stay.begin(), stay.end(), e / size) == stay.end()) choice[e] = -INFINITY;
        EXPECT_NEAR(scores[t * experts + e], s[e], 1e-6);
      }
      const auto expected = best(choice, k);
      double sum = 0;
      for (const int e : expected) sum += s[e];
      for (int64_t j = 0; j < k; ++j) {
        EXPECT_EQ(chosen[t * k + j], expected[j]);
        EXPECT_NEAR(ys[t * k + j], 2.5 * s[expected[j]] / sum, tolerance(GetParam()));
      }
    }
  }
}

TEST_P(Gating, TiesGoToTheLowerIndex) {
  const int64_t experts = 8, k = 4;
  const auto x = tensor(GetParam(), {1, experts}, {1, 2, 2, 1, 2, 0, 0, 1});
  const auto y = empty(GetParam(), {1, k}), ids = empty(kInt32, {1, k}), all = empty(kFloat, {1, experts});
  ASSERT_EQ(run("aclnnMoeGatingTopK", x->handle, kNone, k, int64_t{1}, int64_t{1}, int64_t{0}, int64_t{0}, int64_t{0},
                false, 1.0, 0.0, y->handle, ids->handle, all->handle),
            0)
      << recent_message();
  EXPECT_EQ(ids->read(), (Values{1, 2, 4, 0}));
}

TEST_P(Gating, Refusals) {
  const int64_t tokens = 2, experts = 8;
  const auto x = logits(tokens, experts), y = empty(GetParam(), {tokens, 2}), ids = empty(kInt32, {tokens, 2});
  const auto all = empty(kFloat, {tokens, experts}), wide = empty(kInt64, {tokens, 2});
  const auto top_k = [&](int64_t k, int64_t kept, int64_t groups, int64_t mode, int64_t renorm, int64_t norm,
                         const void* out, const void* chosen) {
    return run("aclnnMoeGatingTopK", x->handle, kNone, k, kept, groups, mode, renorm, norm, false, 1.0, 1e-20,
               y->handle, chosen, out);
  };
  EXPECT_EQ(top_k(2, 1, 1, 0, 0, 1, all->handle, ids->handle), 0);
  EXPECT_EQ(top_k(2, 1, 1, 0, 0, 1, kNone, ids->handle), 161001);
  EXPECT_EQ(top_k(2, 1, 1, 0, 0, 1, all->handle, wide->handle), 161002);
  EXPECT_EQ(top_k(3, 1, 1, 0, 0, 1, all->handle, ids->handle), 561002) << "outputs have two columns";
  EXPECT_EQ(top_k(2, 1, 3, 0, 0, 1, all->handle, ids->handle), 561002);
  EXPECT_EQ(top_k(2, 5, 4, 0, 0, 1, all->handle, ids->handle), 561002);
  EXPECT_EQ(top_k(2, 1, 8, 0, 0, 1, all->handle, ids->handle), 561002) << "one expert in the group that stays";
  EXPECT_EQ(top_k(2, 2, 8, 1, 0, 1, all->handle, ids->handle), 561002) << "no second largest of one";
  EXPECT_EQ(top_k(2, 1, 1, 0, 0, 2, all->handle, ids->handle), 561002);
  EXPECT_EQ(top_k(2, 1, 1, 0, 1, 0, all->handle, ids->handle), 0);
  set("PROFILE", "old");
  EXPECT_EQ(top_k(2, 1, 1, 0, 1, 0, all->handle, ids->handle), 561002);
  EXPECT_EQ(run("aclnnMoeGatingTopKSoftmax", x->handle, kNone, int64_t{2}, y->handle, ids->handle, kNone), 161001);
  EXPECT_EQ(run("aclnnMoeGatingTopKSoftmax", x->handle, kNone, int64_t{9}, y->handle, ids->handle, ids->handle),
            561002);
  EXPECT_EQ(run("aclnnMoeGatingTopKSoftmax", ids->handle, kNone, int64_t{2}, y->handle, ids->handle, ids->handle),
            161002);
}

INSTANTIATE_TEST_SUITE_P(Types, Gating, ::testing::Values(int{kFloat}, int{kHalf}, int{kBfloat}));

}  // namespace
}  // namespace double_test
