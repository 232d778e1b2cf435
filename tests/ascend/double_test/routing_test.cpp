// SPDX-License-Identifier: Apache-2.0
// Sorting tokens to experts and back, against plain loops.
#include <algorithm>
#include <numeric>

#include "device.h"

namespace double_test {
namespace {

using Values = std::vector<double>;
constexpr const void* kNone = nullptr;
constexpr int64_t kTokens = 11, kHidden = 6, kExperts = 7, kChoices = 3, kPairs = kTokens * kChoices;

class Routing : public DeviceTest {
 protected:
  void SetUp() override {
    DeviceTest::SetUp();
    x_ = random(kBfloat, {kTokens, kHidden});
    ids_ = random_integers(kInt32, {kTokens, kChoices}, 0, kExperts - 1);
    const Values ids = ids_->read();
    order_.resize(kPairs);
    std::iota(order_.begin(), order_.end(), 0);
    std::stable_sort(order_.begin(), order_.end(), [&](int64_t a, int64_t b) { return ids[a] < ids[b]; });
    for (int e = 0; e < kExperts; ++e) counts_.push_back(static_cast<double>(std::count(ids.begin(), ids.end(), e)));
  }
  int v3(const void* range, int64_t count_type, int64_t row_type, int64_t quant, const TensorPointer& scale,
         const TensorPointer& expanded, const TensorPointer& rows, const TensorPointer& counts,
         const TensorPointer& expanded_scale, int64_t active = kPairs) {
    return run("aclnnMoeInitRoutingV3", x_->handle, ids_->handle, scale ? scale->handle : kNone, kNone, active,
               int64_t{0}, int64_t{kExperts}, int64_t{0}, count_type, true, quant, range, row_type, expanded->handle,
               rows->handle, counts->handle, expanded_scale ? expanded_scale->handle : kNone);
  }
  // Row `row` of a [.., kHidden] result equals token `token` of x.
  void expect_row(const Values& result, int64_t row, int64_t token) {
    const Values x = x_->read();
    for (int64_t i = 0; i < kHidden; ++i) EXPECT_EQ(result[row * kHidden + i], x[token * kHidden + i]) << row;
  }

  TensorPointer x_ = nullptr, ids_ = nullptr;
  std::vector<int64_t> order_;  // rank -> flat position
  Values counts_;
};

TEST_F(Routing, V3AllExperts) {
  const auto expanded = empty(kBfloat, {kPairs, kHidden}), rows = empty(kInt32, {kPairs}),
             counts = empty(kInt64, {kExperts});
  for (const int64_t row_type : {0, 1}) {
    ASSERT_EQ(v3(kNone, 1, row_type, -1, nullptr, expanded, rows, counts, nullptr), 0) << recent_message();
    EXPECT_EQ(counts->read(), counts_);
    const Values result = expanded->read(), row = rows->read();
    for (int64_t rank = 0; rank < kPairs; ++rank) {
      expect_row(result, rank, order_[rank] / kChoices);
      EXPECT_EQ(row_type == 0 ? row[order_[rank]] : row[rank], row_type == 0 ? rank : order_[rank]);
    }
  }
  ASSERT_EQ(v3(kNone, 0, 0, -1, nullptr, expanded, rows, counts, nullptr), 0);
  Values sums = counts_;
  std::partial_sum(sums.begin(), sums.end(), sums.begin());
  EXPECT_EQ(counts->read(), sums);
  const auto pairs = empty(kInt64, {kExperts, 2});
  ASSERT_EQ(v3(kNone, 2, 0, -1, nullptr, expanded, rows, pairs, nullptr), 0) << recent_message();
  Values expected;
  for (int e = 0; e < kExperts; ++e) {
    if (counts_[e] > 0) expected.insert(expected.end(), {static_cast<double>(e), counts_[e]});
  }
  expected.resize(2 * kExperts, 0.0);
  EXPECT_EQ(pairs->read(), expected);
}

TEST_F(Routing, V3OfASliceLeavesTheRestAlone) {
  const int64_t range[] = {2, 5};
  const void* const slice = call<const void*>("aclCreateIntArray", &range[0], uint64_t{2});
  const auto expanded = empty(kBfloat, {kPairs, kHidden}), rows = empty(kInt32, {kPairs}), counts = empty(kInt64, {3});
  ASSERT_EQ(v3(slice, 1, 0, -1, nullptr, expanded, rows, counts, nullptr), 0) << recent_message();
  EXPECT_EQ(counts->read(), Values(counts_.begin() + 2, counts_.begin() + 5));
  const Values row = rows->read(), ids = ids_->read();
  int64_t rank = 0;
  for (const int64_t position : order_) {
    if (ids[position] < 2 || ids[position] >= 5) {
      EXPECT_EQ(row[position], -1);
      continue;
    }
    EXPECT_EQ(row[position], rank);
    expect_row(expanded->read(), rank++, position / kChoices);
  }
  const auto bytes = expanded->read_bytes();
  for (size_t i = static_cast<size_t>(rank * kHidden * 2); i < bytes.size(); ++i) ASSERT_EQ(bytes[i], 0xCD) << "poison";
  EXPECT_EQ(status("aclDestroyIntArray", slice), 0);
}

TEST_F(Routing, V3Quantises) {
  const auto expanded = empty(kInt8, {kPairs, kHidden}), rows = empty(kInt32, {kPairs}),
             counts = empty(kInt64, {kExperts});
  const auto scales = empty(kFloat, {kPairs}), smooth = random(kFloat, {kExperts, kHidden});
  for (const bool smoothed : {false, true}) {
    ASSERT_EQ(v3(kNone, 1, 0, 1, smoothed ? smooth : nullptr, expanded, rows, counts, scales), 0) << recent_message();
    const Values x = x_->read(), q = expanded->read(), s = scales->read(), f = smooth->read(), ids = ids_->read();
    for (int64_t rank = 0; rank < kPairs; ++rank) {
      const int64_t token = order_[rank] / kChoices, expert = static_cast<int64_t>(ids[order_[rank]]);
      double largest = 0;
      for (int64_t i = 0; i < kHidden; ++i) {
        const double value = x[token * kHidden + i] * (smoothed ? f[expert * kHidden + i] : 1);
        largest = std::max(largest, std::fabs(value));
        EXPECT_NEAR(q[rank * kHidden + i] * s[rank], value, s[rank] * 0.5001);
      }
      EXPECT_NEAR(s[rank], largest / 127, largest * 1e-7);
    }
  }
}

TEST_F(Routing, V3Refusals) {
  const auto expanded = empty(kBfloat, {kPairs, kHidden}), rows = empty(kInt32, {kPairs}),
             counts = empty(kInt64, {kExperts});
  const auto narrow = empty(kInt32, {kExperts}), few = empty(kInt64, {kExperts - 1}),
             wrong = empty(kFloat, {kPairs, kHidden});
  EXPECT_EQ(v3(kNone, 1, 0, -1, nullptr, expanded, rows, narrow, nullptr), 161002) << "counts are INT64";
  EXPECT_EQ(v3(kNone, 1, 0, -1, nullptr, expanded, rows, few, nullptr), 161002);
  EXPECT_EQ(v3(kNone, 1, 0, -1, nullptr, wrong, rows, counts, nullptr), 161002);
  EXPECT_EQ(v3(kNone, 3, 0, -1, nullptr, expanded, rows, counts, nullptr), 161002);
  EXPECT_EQ(v3(kNone, 1, 2, -1, nullptr, expanded, rows, counts, nullptr), 161002);
  EXPECT_EQ(v3(kNone, 1, 0, 2, nullptr, expanded, rows, counts, nullptr), 161002);
  EXPECT_EQ(v3(kNone, 1, 0, -1, nullptr, expanded, rows, counts, nullptr, kPairs + 1), 161002);
  ids_ = tensor(kInt32, {kTokens, kChoices}, Values(kPairs, kExperts));
  EXPECT_EQ(v3(kNone, 1, 0, -1, nullptr, expanded, rows, counts, nullptr), 507015) << "found on the device";
  expect_violation("device range");
}

TEST_F(Routing, V3WithoutTokens) {
  x_ = empty(kBfloat, {0, kHidden});
  ids_ = empty(kInt32, {0, kChoices});
  const auto expanded = empty(kBfloat, {0, kHidden}), rows = empty(kInt32, {0}), counts = empty(kInt64, {kExperts});
  ASSERT_EQ(v3(kNone, 1, 0, -1, nullptr, expanded, rows, counts, nullptr, 0), 0) << recent_message();
  EXPECT_EQ(counts->read(), Values(kExperts, 0.0));
}

TEST_F(Routing, V2DroplessAndWithCapacity) {
  const auto expanded = empty(kBfloat, {kPairs, kHidden}), rows = empty(kInt32, {kPairs}),
             counts = empty(kInt32, {kExperts});
  const auto v2 = [&](int64_t capacity, int64_t mode, int64_t flag, bool before, const TensorPointer& out,
                      const TensorPointer& before_counts) {
    return run("aclnnMoeInitRoutingV2", x_->handle, ids_->handle, int64_t{0}, capacity, int64_t{kExperts}, mode, flag,
               before, out->handle, rows->handle, flag ? counts->handle : kNone,
               before ? before_counts->handle : kNone);
  };
  ASSERT_EQ(v2(0, 0, 2, false, expanded, nullptr), 0) << recent_message();
  EXPECT_EQ(counts->read(), counts_);
  for (int64_t rank = 0; rank < kPairs; ++rank) {
    EXPECT_EQ(rows->read()[order_[rank]], rank);
    expect_row(expanded->read(), rank, order_[rank] / kChoices);
  }
  ASSERT_EQ(v2(0, 0, 1, false, expanded, nullptr), 0);
  EXPECT_EQ(counts->read().back(), kPairs);

  const int64_t capacity = 3;
  const auto padded = empty(kBfloat, {kExperts, capacity, kHidden}), before = empty(kInt32, {kExperts});
  ASSERT_EQ(v2(capacity, 1, 0, true, padded, before), 0) << recent_message();
  EXPECT_EQ(before->read(), counts_);
  const Values row = rows->read(), ids = ids_->read(), result = padded->read();
  std::vector<int64_t> seen(kExperts, 0);
  for (const int64_t position : order_) {
    const auto expert = static_cast<int64_t>(ids[position]);
    const int64_t within = seen[expert]++;
    EXPECT_EQ(row[position], within < capacity ? expert * capacity + within : -1);
    if (within < capacity) expect_row(result, expert * capacity + within, position / kChoices);
  }
  for (int64_t e = 0; e < kExperts; ++e) {
    for (int64_t r = std::min(seen[e], capacity); r < capacity; ++r) EXPECT_EQ(result[(e * capacity + r) * kHidden], 0);
  }
  EXPECT_EQ(v2(kTokens + 1, 1, 0, false, padded, nullptr), 161002);
  EXPECT_EQ(v2(0, 0, 3, false, expanded, nullptr), 161002);
}

TEST_F(Routing, PermuteAndUnpermuteAreInverse) {
  const auto permuted = empty(kBfloat, {kPairs, kHidden}), rows = empty(kInt32, {kPairs}),
             y = empty(kBfloat, {kTokens, kHidden});
  ASSERT_EQ(run("aclnnMoeTokenPermute", x_->handle, ids_->handle, int64_t{0}, false, permuted->handle, rows->handle), 0)
      << recent_message();
  for (int64_t rank = 0; rank < kPairs; ++rank) EXPECT_EQ(rows->read()[order_[rank]], rank);
  const auto probs = tensor(kFloat, {kTokens, kChoices}, Values(kPairs, 0.5));
  ASSERT_EQ(run("aclnnMoeTokenUnpermute", permuted->handle, rows->handle, probs->handle, false, kNone, y->handle), 0)
      << recent_message();
  for (int64_t i = 0; i < kTokens * kHidden; ++i)
    EXPECT_NEAR(y->read()[i], rounded(kBfloat, 1.5 * x_->read()[i]), 1e-9);
  const auto cut = empty(kBfloat, {kPairs - 4, kHidden});
  ASSERT_EQ(run("aclnnMoeTokenPermuteV2", x_->handle, ids_->handle, int64_t{-4}, false, int64_t{-1}, cut->handle,
                rows->handle, kNone),
            0)
      << recent_message();
  EXPECT_EQ(run("aclnnMoeTokenUnpermute", cut->handle, rows->handle, probs->handle, false, kNone, y->handle), 507015);
  expect_violation("device range");
  EXPECT_EQ(run("aclnnMoeTokenUnpermute", permuted->handle, rows->handle, probs->handle, true, kNone, y->handle),
            161002);
  EXPECT_EQ(run("aclnnMoeTokenPermute", x_->handle, ids_->handle, int64_t{0}, true, permuted->handle, rows->handle),
            161002);
}

TEST_F(Routing, MinusOneIsNoRow) {
  const auto rows = tensor(kInt32, {2}, {0, -1}), y = empty(kBfloat, {2, kHidden});
  EXPECT_EQ(run("aclnnMoeTokenUnpermute", x_->handle, rows->handle, kNone, false, kNone, y->handle), 507015);
  expect_violation("device range");
}

TEST_F(Routing, FinalizeInBothOrders) {
  const auto expanded = random(kFloat, {kPairs, kHidden}), scales = random(kFloat, {kTokens, kChoices});
  const auto x1 = random(kFloat, {kTokens, kHidden}), bias = random(kFloat, {kExperts, kHidden});
  Values permutation(kPairs);
  std::iota(permutation.begin(), permutation.end(), 0.0);
  std::shuffle(permutation.begin(), permutation.end(), random_);
  const auto rows = tensor(kInt32, {kPairs}, permutation), y = empty(kFloat, {kTokens, kHidden});
  for (const int64_t mode : {0, 2}) {
    ASSERT_EQ(run("aclnnMoeFinalizeRoutingV2", expanded->handle, rows->handle, x1->handle, kNone, bias->handle,
                  scales->handle, ids_->handle, mode, y->handle),
              0)
        << recent_message();
    const Values e = expanded->read(), s = scales->read(), b = bias->read(), ids = ids_->read(), result = y->read();
    for (int64_t t = 0; t < kTokens; ++t) {
      for (int64_t i = 0; i < kHidden; ++i) {
        double sum = x1->read()[t * kHidden + i];
        for (int64_t j = 0; j < kChoices; ++j) {
          const auto row = static_cast<int64_t>(permutation[mode == 0 ? j * kTokens + t : t * kChoices + j]);
          const auto expert = static_cast<int64_t>(ids[t * kChoices + j]);
          sum += s[t * kChoices + j] * (e[row * kHidden + i] + b[expert * kHidden + i]);
        }
        EXPECT_NEAR(result[t * kHidden + i], sum, 1e-5);
      }
    }
  }
  EXPECT_EQ(run("aclnnMoeFinalizeRoutingV2", expanded->handle, rows->handle, kNone, kNone, kNone, kNone, kNone,
                int64_t{2}, y->handle),
            561003);
  EXPECT_EQ(run("aclnnMoeFinalizeRoutingV2", expanded->handle, rows->handle, kNone, x1->handle, kNone, scales->handle,
                kNone, int64_t{2}, y->handle),
            161002);
}

TEST_F(Routing, ComputeExpertTokens) {
  const auto sorted = tensor(kInt32, {6}, {0, 0, 2, 2, 2, 5}), ends = empty(kInt32, {7});
  ASSERT_EQ(run("aclnnMoeComputeExpertTokens", sorted->handle, int64_t{7}, ends->handle), 0) << recent_message();
  EXPECT_EQ(ends->read(), (Values{2, 2, 5, 5, 5, 6, 6}));
}

}  // namespace
}  // namespace double_test
