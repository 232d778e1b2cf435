// SPDX-License-Identifier: Apache-2.0
#include "moekit/permutation.h"

#include <gtest/gtest.h>

#include <limits>
#include <random>
#include <stdexcept>
#include <string>

namespace moekit {
namespace {

struct Sample {
  std::vector<std::int32_t> ids;
  std::vector<float> weights;
  std::int64_t tokens, k;
  RoutingView view() { return {tokens, k, ids.data(), weights.data()}; }
};

Sample random_sample(std::mt19937& rng, std::int64_t tokens, std::int64_t k, std::int32_t experts,
                     std::int32_t lowest) {
  Sample sample{{}, {}, tokens, k};
  for (std::int64_t i = 0; i < tokens * k; ++i) {
    sample.ids.push_back(std::uniform_int_distribution<std::int32_t>(lowest, experts - 1)(rng));
    sample.weights.push_back(std::uniform_real_distribution<float>(-1, 1)(rng));
  }
  return sample;
}

TEST(Permutation, HoldsEverySlotOnceUnderItsExpertInTokenOrder) {
  std::mt19937 rng(2);
  TokenPermutation out;  // reused, as a layer does
  for (int round = 0; round < 300; ++round) {
    const auto experts = std::uniform_int_distribution<std::int32_t>(1, 70)(rng);
    const auto tokens = std::uniform_int_distribution<std::int64_t>(0, 50)(rng);
    Sample sample = random_sample(rng, tokens, std::uniform_int_distribution<std::int64_t>(1, 9)(rng), experts, -1);
    permute(sample.view(), experts, out);

    ASSERT_EQ(out.offsets.size(), static_cast<std::size_t>(experts) + 1);
    ASSERT_EQ(out.offsets.front(), 0);
    const auto rows = static_cast<std::size_t>(out.offsets.back());
    ASSERT_EQ(out.token.size(), rows);
    ASSERT_EQ(out.weight.size(), rows);
    ASSERT_EQ(out.slot.size(), rows);
    std::vector<bool> seen(sample.ids.size(), false);
    for (std::int32_t e = 0; e < experts; ++e) {
      const auto first = static_cast<std::size_t>(out.offsets[static_cast<std::size_t>(e)]);
      const auto last = static_cast<std::size_t>(out.offsets[static_cast<std::size_t>(e) + 1]);
      ASSERT_LE(first, last);
      for (std::size_t row = first; row < last; ++row) {
        const auto slot = static_cast<std::size_t>(out.slot[row]);
        ASSERT_EQ(sample.ids[slot], e);
        ASSERT_EQ(out.weight[row], sample.weights[slot]);
        ASSERT_EQ(out.token[row], static_cast<std::int32_t>(slot / static_cast<std::size_t>(sample.k)));
        ASSERT_TRUE(row == first || out.slot[row - 1] < out.slot[row]);
        ASSERT_FALSE(seen[slot]);
        seen[slot] = true;
      }
    }
    for (std::size_t slot = 0; slot < seen.size(); ++slot) ASSERT_EQ(seen[slot], sample.ids[slot] >= 0);
  }
}

TEST(Permutation, ReusesItsMemory) {
  std::mt19937 rng(3);
  Sample large = random_sample(rng, 64, 4, 16, 0), small = random_sample(rng, 9, 2, 16, 0);
  TokenPermutation out;
  permute(large.view(), 16, out);
  const void* before[] = {out.offsets.data(), out.token.data(), out.weight.data(), out.slot.data()};
  permute(small.view(), 16, out);
  permute(large.view(), 16, out);
  const void* after[] = {out.offsets.data(), out.token.data(), out.weight.data(), out.slot.data()};
  for (int i = 0; i < 4; ++i) EXPECT_EQ(before[i], after[i]);
}

TEST(Permutation, IdsOutOfRangeAreNamed) {
  std::mt19937 rng(4);
  for (const std::int32_t bad :
       {-2, 5, std::numeric_limits<std::int32_t>::max(), std::numeric_limits<std::int32_t>::min()}) {
    Sample sample = random_sample(rng, 6, 3, 5, 0);
    sample.ids[4 * 3 + 2] = bad;
    TokenPermutation out;
    try {
      permute(sample.view(), 5, out);
      FAIL() << bad;
    } catch (const std::invalid_argument& error) {
      const std::string text = error.what();
      for (const std::string& part : {std::to_string(bad), std::string("row 4, column 2"), std::string("-1 .. 4")})
        EXPECT_NE(text.find(part), std::string::npos) << text;
    }
    sample.ids[4 * 3 + 2] = 0;
    EXPECT_NO_THROW(permute(sample.view(), 5, out));
  }
}

TEST(Permutation, SizesThatWrapAreErrors) {
  TokenPermutation out;
  EXPECT_THROW(permute({-1, 2, nullptr, nullptr}, 4, out), std::invalid_argument);
  EXPECT_THROW(permute({std::int64_t{1} << 40, 2, nullptr, nullptr}, 4, out), std::invalid_argument);
  EXPECT_THROW(permute({2, std::numeric_limits<std::int64_t>::max(), nullptr, nullptr}, 4, out), std::invalid_argument);
  EXPECT_THROW(permute({0, 2, nullptr, nullptr}, -1, out), std::invalid_argument);
}

}  // namespace
}  // namespace moekit
