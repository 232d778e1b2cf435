// SPDX-License-Identifier: Apache-2.0
// The grouped matrix product in every type, against plain loops in double.
#include "device.h"

namespace double_test {
namespace {

using Values = std::vector<double>;
constexpr const void* kNone = nullptr;
constexpr int64_t kRows = 13, kInner = 16, kColumns = 10, kExperts = 4;

struct Lists {  // the tensor lists of a call, NULL where left out
  const void *x, *weight, *bias = nullptr, *scale = nullptr, *antiquant_scale = nullptr, *antiquant_offset = nullptr,
                          *per_token = nullptr;
};

class GroupedMatmul : public DeviceTest {
 protected:
  int v5(const Lists& lists, const void* group_list, const void* out, int64_t list_type = 1, int64_t activation = 0,
         int64_t split = 2, int64_t type = 0) {
    return run("aclnnGroupedMatmulV5", lists.x, lists.weight, lists.bias, lists.scale, kNone, lists.antiquant_scale,
               lists.antiquant_offset, lists.per_token, group_list, kNone, kNone, kNone, split, type, list_type,
               activation, kNone, out, kNone, kNone);
  }
  // The expert of each row under the counts; -1 beyond.
  static std::vector<int> owners(const Values& counts) {
    std::vector<int> result;
    for (size_t e = 0; e < counts.size(); ++e)
      result.insert(result.end(), static_cast<size_t>(counts[e]), static_cast<int>(e));
    result.resize(kRows, -1);
    return result;
  }
  // Every row under the list is what `expected(row, expert, column)` says; every other is poison.
  template <class Expected>
  void check(const TensorPointer& out, Expected expected, double relative) {
    const Values result = out->read();
    const auto bytes = out->read_bytes();
    const auto owner = owners(counts_);
    for (int64_t row = 0; row < kRows; ++row) {
      for (int64_t n = 0; n < kColumns; ++n) {
        const int64_t at = row * kColumns + n;
        if (owner[row] < 0) {
          ASSERT_EQ(bytes[at * bytes.size() / result.size()], 0xCD) << "row " << row << " must stay poison";
          continue;
        }
        const double value = expected(row, owner[row], n);
        ASSERT_NEAR(result[at], value, relative * (1 + std::fabs(value))) << row << " " << n;
      }
    }
  }

  const Values counts_{3, 0, 5, 2};  // three rows belong to nobody
};

class PlainTypes : public GroupedMatmul, public ::testing::WithParamInterface<int> {};

TEST_P(PlainTypes, EveryListTypeAndLayoutWithBias) {
  const int dtype = GetParam();
  const auto x = random(dtype, {kRows, kInner}), w = random(dtype, {kExperts, kInner, kColumns}, 0.5);
  const auto stored = random(dtype, {kExperts, kColumns, kInner}, 0.5);
  const auto bias = random(dtype == kHalf ? kHalf : kFloat, {kExperts, kColumns});
  const std::vector<TensorPointer> group_lists{tensor(kInt64, {kExperts}, {3, 3, 8, 10}),
                                               tensor(kInt64, {kExperts}, counts_),
                                               tensor(kInt64, {kExperts, 2}, {0, 3, 2, 5, 3, 2, 0, 0})};
  for (int64_t type = 0; type < 3; ++type) {
    for (const bool view : {false, true}) {
      const auto out = empty(dtype, {kRows, kColumns});
      Lists lists{list({x}), view ? transposed_list(stored) : list({w}), list({bias})};
      ASSERT_EQ(v5(lists, group_lists[type]->handle, list({out}), type), 0) << recent_message();
      const Values xs = x->read(), ws = view ? stored->read() : w->read(), b = bias->read();
      check(
          out,
          [&](int64_t row, int e, int64_t n) {
            double sum = b[e * kColumns + n];
            for (int64_t k = 0; k < kInner; ++k) {
              sum += xs[row * kInner + k] *
                     (view ? ws[(e * kColumns + n) * kInner + k] : ws[(e * kInner + k) * kColumns + n]);
            }
            return sum;
          },
          dtype == kFloat  ? 1e-6
          : dtype == kHalf ? 1e-3
                           : 8e-3);
    }
  }
}

INSTANTIATE_TEST_SUITE_P(Types, PlainTypes, ::testing::Values(int{kFloat}, int{kHalf}, int{kBfloat}));

TEST_F(GroupedMatmul, Int8WithScales) {
  const auto x = random_integers(kInt8, {kRows, kInner}, -127, 127),
             w = random_integers(kInt8, {kExperts, kInner, kColumns}, -127, 127);
  const auto scale = random(kFloat, {kExperts, kColumns}, 0.01), per_token = random(kFloat, {kRows}, 0.01);
  const auto bias = random_integers(kInt32, {kExperts, kColumns}, -5000, 5000);
  const auto groups = tensor(kInt64, {kExperts}, counts_);
  const Values xs = x->read(), ws = w->read(), s = scale->read(), t = per_token->read(), b = bias->read();
  const auto sum = [&](int64_t row, int e, int64_t n) {
    double result = b[e * kColumns + n];
    for (int64_t k = 0; k < kInner; ++k) result += xs[row * kInner + k] * ws[(e * kInner + k) * kColumns + n];
    return result;
  };
  for (const int dtype : {kBfloat, kHalf}) {
    const auto out = empty(dtype, {kRows, kColumns});
    ASSERT_EQ(v5({list({x}), list({w}), list({bias}), list({scale}), kNone, kNone, list({per_token})}, groups->handle,
                 list({out})),
              0)
        << recent_message();
    check(
        out, [&](int64_t row, int e, int64_t n) { return sum(row, e, n) * s[e * kColumns + n] * t[row]; },
        dtype == kHalf ? 1e-3 : 8e-3);
    EXPECT_EQ(v5({list({x}), list({w}), list({bias})}, groups->handle, list({out})), 161001) << "no scale";
  }
  const auto raw = empty(kInt32, {kRows, kColumns});
  ASSERT_EQ(v5({list({x}), list({w}), list({bias})}, groups->handle, list({raw})), 0) << recent_message();
  check(raw, sum, 0);
  const auto activated = empty(kBfloat, {kRows, kColumns});
  ASSERT_EQ(v5({list({x}), list({w}), list({bias}), list({scale}), kNone, kNone, list({per_token})}, groups->handle,
               list({activated}), 1, 1),
            0)
      << recent_message();
  check(
      activated,
      [&](int64_t row, int e, int64_t n) { return std::max(0.0, sum(row, e, n) * s[e * kColumns + n] * t[row]); },
      8e-3);
}

TEST_F(GroupedMatmul, WeightOnly) {
  const auto groups = tensor(kInt64, {kExperts}, counts_);
  const int64_t parts = 4;
  for (const int dtype : {kBfloat, kHalf}) {
    for (const int weight_type : {kInt8, kInt4}) {
      for (const bool in_parts : {false, true}) {
        if (in_parts && weight_type == kInt8) continue;
        const int limit = weight_type == kInt4 ? 7 : 127;
        Values codes(kExperts * kInner * kColumns);
        std::uniform_int_distribution<int> uniform(-limit - 1, limit);
        for (double& value : codes) value = uniform(random_);
        const auto x = random(dtype, {kRows, kInner}), w = tensor(weight_type, {kExperts, kInner, kColumns}, codes);
        const std::vector<int64_t> shape =
            in_parts ? std::vector<int64_t>{kExperts, parts, kColumns} : std::vector<int64_t>{kExperts, kColumns};
        const auto scale = random(dtype, shape, 0.1), offset = random_integers(dtype, shape, -3, 3);
        const auto out = empty(dtype, {kRows, kColumns});
        ASSERT_EQ(v5({list({x}), list({w}), kNone, kNone, list({scale}), list({offset})}, groups->handle, list({out})),
                  0)
            << recent_message();
        const Values xs = x->read(), s = scale->read(), z = offset->read();
        check(
            out,
            [&](int64_t row, int e, int64_t n) {
              double sum = 0;
              for (int64_t k = 0; k < kInner; ++k) {
                const int64_t at = in_parts ? (e * parts + k / (kInner / parts)) * kColumns + n : e * kColumns + n;
                sum += xs[row * kInner + k] * (codes[(e * kInner + k) * kColumns + n] + z[at]) * s[at];
              }
              return sum;
            },
            dtype == kHalf ? 2e-3 : 1e-2);
        EXPECT_EQ(v5({list({x}), list({w}), kNone, kNone, list({scale})}, groups->handle, list({out})), 161001)
            << "the offset must be given";
      }
    }
  }
}

TEST_F(GroupedMatmul, OneWeightTensorAnExpertAndNoGroups) {
  const auto x = random(kFloat, {kRows, kInner});
  std::vector<TensorPointer> weights, inputs, outputs;
  for (int e = 0; e < kExperts; ++e) weights.push_back(random(kFloat, {kInner, kColumns}));
  const auto out = empty(kFloat, {kRows, kColumns}), groups = tensor(kInt64, {kExperts}, counts_);
  ASSERT_EQ(v5({list({x}), list(weights)}, groups->handle, list({out})), 0) << recent_message();
  const auto product = [&](const Values& a, int64_t row, int e, int64_t n) {
    double sum = 0;
    for (int64_t k = 0; k < kInner; ++k) sum += a[row * kInner + k] * weights[e]->read()[k * kColumns + n];
    return sum;
  };
  const Values xs = x->read();
  check(
      out, [&](int64_t row, int e, int64_t n) { return product(xs, row, e, n); }, 1e-6);
  for (int e = 0; e < kExperts; ++e) {
    inputs.push_back(random(kFloat, {e + 1, kInner}));
    outputs.push_back(empty(kFloat, {e + 1, kColumns}));
  }
  ASSERT_EQ(v5({list(inputs), list(weights)}, kNone, list(outputs), 0, 0, 0, -1), 0) << recent_message();
  for (int e = 0; e < kExperts; ++e) {
    EXPECT_NEAR(outputs[e]->read()[e * kColumns + 3], product(inputs[e]->read(), e, e, 3), 1e-4);
  }
}

TEST_F(GroupedMatmul, OlderPrototypesGiveTheSame) {
  const auto x = random(kBfloat, {kRows, kInner}), w = random(kBfloat, {kExperts, kInner, kColumns});
  const auto counts = tensor(kInt64, {kExperts}, counts_), sums = tensor(kInt64, {kExperts}, {3, 3, 8, 10});
  const auto a = empty(kBfloat, {kRows, kColumns}), b = empty(kBfloat, {kRows, kColumns}),
             c = empty(kBfloat, {kRows, kColumns});
  ASSERT_EQ(v5({list({x}), list({w})}, counts->handle, list({a})), 0) << recent_message();
  ASSERT_EQ(run("aclnnGroupedMatmulV4", list({x}), list({w}), kNone, kNone, kNone, kNone, kNone, kNone, counts->handle,
                kNone, kNone, kNone, int64_t{2}, int64_t{0}, int64_t{1}, int64_t{0}, list({b}), kNone, kNone),
            0)
      << recent_message();
  ASSERT_EQ(run("aclnnGroupedMatmulV3", list({x}), list({w}), kNone, kNone, kNone, kNone, kNone, sums->handle,
                int64_t{2}, int64_t{0}, list({c})),
            0)
      << recent_message();
  EXPECT_EQ(a->read_bytes(), b->read_bytes());
  EXPECT_EQ(a->read_bytes(), c->read_bytes());
}

TEST_F(GroupedMatmul, ListsThatLieAreFoundOnTheDevice) {
  const auto x = random(kFloat, {kRows, kInner}), w = random(kFloat, {kExperts, kInner, kColumns});
  const auto out = empty(kFloat, {kRows, kColumns});
  const auto with = [&](const Values& values, int64_t type) {
    return v5({list({x}), list({w})}, tensor(kInt64, {kExperts}, values)->handle, list({out}), type);
  };
  for (const auto& [values, type] : std::vector<std::pair<Values, int64_t>>{
           {{5, 5, 5, 5}, 1}, {{-1, 1, 1, 1}, 1}, {{5, 3, 8, 9}, 0}, {{1, 2, 3, 14}, 0}}) {
    EXPECT_EQ(with(values, type), 507015);
    expect_violation("group list");
  }
  EXPECT_EQ(with({0, 0, 0, 0}, 1), 0);
  EXPECT_EQ(with({kRows, 0, 0, 0}, 1), 0);
}

TEST_F(GroupedMatmul, Refusals) {
  const auto x = random(kBfloat, {kRows, kInner}), w = random(kBfloat, {kExperts, kInner, kColumns});
  const auto groups = tensor(kInt64, {kExperts}, counts_), out = empty(kBfloat, {kRows, kColumns});
  const auto good = [&] { return Lists{list({x}), list({w})}; };
  ASSERT_EQ(v5(good(), groups->handle, list({out})), 0) << recent_message();
  EXPECT_EQ(v5(good(), kNone, list({out})), 161001);
  EXPECT_EQ(v5({kNone, list({w})}, groups->handle, list({out})), 161001);
  EXPECT_EQ(v5(good(), groups->handle, kNone), 161001);
  EXPECT_EQ(v5(good(), empty(kInt32, {kExperts})->handle, list({out})), 161002) << "INT64 list";
  EXPECT_EQ(v5(good(), empty(kInt64, {kExperts + 1})->handle, list({out})), 161002);
  EXPECT_EQ(v5(good(), groups->handle, list({empty(kFloat, {kRows, kColumns})})), 161002);
  EXPECT_EQ(v5(good(), groups->handle, list({empty(kBfloat, {kRows, kColumns + 1})})), 161002);
  EXPECT_EQ(v5(good(), groups->handle, list({out, out})), 161002);
  EXPECT_EQ(v5(good(), groups->handle, list({out}), 1, 5), 161002) << "no activation with floats";
  EXPECT_EQ(v5(good(), groups->handle, list({out}), 3), 161002);
  EXPECT_EQ(v5(good(), groups->handle, list({out}), 1, 0, 0), 161002);
  EXPECT_EQ(v5(good(), groups->handle, list({out}), 1, 0, 2, 2), 161002);
  EXPECT_EQ(v5({list({x}), list({random(kHalf, {kExperts, kInner, kColumns})})}, groups->handle, list({out})), 161002);
  EXPECT_EQ(v5({list({x}), list({random(kBfloat, {kExperts, kInner + 1, kColumns})})}, groups->handle, list({out})),
            161002);
  EXPECT_EQ(v5({list({x}), list({w}), list({random(kBfloat, {kExperts, kColumns})})}, groups->handle, list({out})),
            161002)
      << "the bias of bf16 is FLOAT";
  EXPECT_EQ(
      v5({list({x}), list({w}), kNone, list({random(kFloat, {kExperts, kColumns})})}, groups->handle, list({out})),
      161002);
  EXPECT_NE(recent_message(), "");
}

}  // namespace
}  // namespace double_test
