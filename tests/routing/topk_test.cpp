// SPDX-License-Identifier: Apache-2.0
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <numeric>
#include <random>

#include "routing/rules.h"
#include "routing/special_floats.h"

namespace moekit {
namespace {

// The definition: a stable sort by value, NaN last.
std::vector<std::int32_t> sorted_ids(const std::vector<float>& values) {
  std::vector<std::int32_t> ids(values.size());
  std::iota(ids.begin(), ids.end(), 0);
  std::stable_sort(ids.begin(), ids.end(), [&](std::int32_t a, std::int32_t b) {
    const float x = values[static_cast<std::size_t>(a)], y = values[static_cast<std::size_t>(b)];
    if (std::isnan(x) || std::isnan(y)) return !std::isnan(x) && std::isnan(y);
    return x > y;
  });
  return ids;
}

void check(const std::vector<float>& values, std::size_t k) {
  std::vector<std::uint64_t> keys(values.size());
  std::vector<std::int32_t> ids(k + 1, -9);
  top_k(values.data(), static_cast<std::int64_t>(values.size()), static_cast<std::int64_t>(k), keys.data(), ids.data());
  EXPECT_EQ(ids[k], -9) << "wrote past k";
  ids.pop_back();
  std::vector<std::int32_t> want = sorted_ids(values);
  want.resize(k);
  EXPECT_EQ(ids, want) << "n " << values.size() << ", k " << k;
}

TEST(TopK, IsTheHeadOfAStableSort) {
  std::mt19937 rng(1);
  // From all different to nearly all equal, with every kind of special value mixed in.
  const float specials[] = {kNan, -kNan, kInf, -kInf, 0.0f, -0.0f, 1e-40f, -1e-40f, std::numeric_limits<float>::max()};
  for (int round = 0; round < 2000; ++round) {
    std::vector<float> values(std::uniform_int_distribution<std::size_t>(1, 150)(rng));
    const int kinds = std::uniform_int_distribution<int>(1, 300)(rng);
    const int special = std::uniform_int_distribution<int>(0, 3)(rng);
    for (float& value : values) {
      value = static_cast<float>(std::uniform_int_distribution<int>(-kinds, kinds)(rng)) / 7.0f;
      if (special > 0 && std::uniform_int_distribution<int>(0, 9)(rng) < special)
        value = specials[std::uniform_int_distribution<std::size_t>(0, 8)(rng)];
    }
    check(values, std::uniform_int_distribution<std::size_t>(1, values.size())(rng));
    check(values, std::min<std::size_t>(8, values.size()));
  }
}

TEST(TopK, EveryKOfOneRow) {
  std::vector<float> values;
  for (int i = 0; i < 40; ++i) values.push_back(static_cast<float>((i * 7) % 10));
  for (std::size_t k = 1; k <= values.size(); ++k) check(values, k);
}

TEST(TopK, Ascending) {
  std::vector<float> values(128);
  std::iota(values.begin(), values.end(), -3.0f);
  check(values, 8);
  check(values, 128);
}

TEST(TopK, ZerosOfBothSignsAreEqual) {
  check({-0.0f, 0.0f, -0.0f, 0.0f}, 3);
  std::vector<float> values(40, -0.0f);
  for (std::size_t i = 1; i < values.size(); i += 2) values[i] = 0.0f;
  check(values, 20);
}

TEST(TopK, NanRanksBelowMinusInfinity) {
  check({kNan, -kInf, kNan, 1.0f}, 4);
  check({kNan, kNan, kNan}, 2);
}

}  // namespace
}  // namespace moekit
