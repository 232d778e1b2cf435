// SPDX-License-Identifier: Apache-2.0
// Properties of select() over random configurations, a straightforward formulation in float64, and worked examples.
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <numeric>
#include <random>
#include <set>

#include "routing/routing.h"
#include "routing/special_floats.h"

namespace moekit {
namespace {

using Rng = std::mt19937;

std::int64_t pick(Rng& rng, std::int64_t low, std::int64_t high) {
  return std::uniform_int_distribution<std::int64_t>(low, high)(rng);
}

struct Chosen {
  std::vector<std::int32_t> ids;
  std::vector<float> weights;
};

Chosen choose(const RouterConfig& config, const RouterTables& tables, const std::vector<float>& logits,
              DType native = DType::kFloat32, const std::int32_t* forced = nullptr) {
  static RouteScratch scratch;  // reused over configurations of every size
  const auto k = static_cast<std::size_t>(config.top_k);
  Chosen chosen{std::vector<std::int32_t>(k, -7), std::vector<float>(k)};
  select(config, tables, logits.data(), native, forced, scratch, chosen.ids.data(), chosen.weights.data());
  return chosen;
}

// Any configuration that validate() accepts.
RouterConfig random_config(Rng& rng) {
  for (;;) {
    RouterConfig c;
    c.num_experts = pick(rng, 1, 40);
    c.num_identity = pick(rng, 0, 3) == 0 ? pick(rng, 0, 8) : 0;
    c.top_k = pick(rng, 1, std::min<std::int64_t>(c.columns(), pick(rng, 1, 40)));
    c.matmul = static_cast<Precision>(pick(rng, 0, 1));
    c.score_in = static_cast<Precision>(pick(rng, 0, 1));
    c.out = static_cast<Precision>(pick(rng, 0, 1));
    c.logit_mult = pick(rng, 0, 1) == 0 ? 1.0 : 0.5;
    c.softcap = pick(rng, 0, 1) == 0 ? 0.0 : 5.0;
    c.score = static_cast<Score>(pick(rng, 0, 4));
    c.select_on = static_cast<SelectOn>(pick(rng, 0, 1));
    c.group_rule = static_cast<GroupRule>(pick(rng, 0, 3));
    c.n_group = pick(rng, 1, 8);
    c.topk_group = pick(rng, 1, c.n_group);
    c.mask_fill = pick(rng, 0, 1) == 0 ? 0.0 : c.mask_fill;
    c.renorm = static_cast<Renorm>(pick(rng, 0, 3));
    c.eps = pick(rng, 0, 1) == 0 ? 0.0 : 1e-6;
    c.p = pick(rng, 0, 1) == 0 ? 2.0 : 3.0;
    c.scale = 1.5;
    try {
      validate(c);
      return c;
    } catch (const std::invalid_argument&) {
    }
  }
}

std::vector<float> random_row(Rng& rng, std::int64_t n, float scale = 2.0f) {
  std::vector<float> row(static_cast<std::size_t>(n));
  for (float& value : row) value = std::normal_distribution<float>(0.0f, scale)(rng);
  return row;
}

RouterTables random_tables(Rng& rng, const RouterConfig& c) {
  RouterTables tables;
  if (pick(rng, 0, 1) == 0) tables.bias = random_row(rng, c.columns());
  if (pick(rng, 0, 1) == 0 && c.score != Score::kSparsemixer)
    tables.selection_bias = random_row(rng, c.columns(), 0.3f);
  if (pick(rng, 0, 1) == 0) tables.per_expert_scale = random_row(rng, c.columns());
  return tables;
}

// Whatever the row holds: ids are distinct and in range; a NaN logit makes every weight NaN.
TEST(Select, IdsStayDistinctAndInRange) {
  Rng rng(5);
  const float specials[] = {kNan, -kNan, kInf, -kInf, 0.0f, -0.0f, 3e38f, -3e38f, 1e-40f};
  for (int round = 0; round < 6000; ++round) {
    const RouterConfig c = random_config(rng);
    const RouterTables tables = random_tables(rng, c);
    std::vector<float> row = random_row(rng, c.columns());
    const std::int64_t density = pick(rng, 0, 10);
    for (float& value : row)
      if (pick(rng, 1, 10) <= density) value = specials[pick(rng, 0, 8)];
    const Chosen chosen = choose(c, tables, row, static_cast<DType>(pick(rng, 1, 3)));  // float32, bfloat16, float16
    const std::set<std::int32_t> distinct(chosen.ids.begin(), chosen.ids.end());
    ASSERT_EQ(distinct.size(), chosen.ids.size()) << describe(c);
    ASSERT_GE(*distinct.begin(), 0);
    ASSERT_LT(*distinct.rbegin(), c.columns());
    const bool poisoned = std::any_of(row.begin(), row.end(), [](float v) { return std::isnan(v); });
    for (const float weight : chosen.weights) ASSERT_TRUE(!poisoned || std::isnan(weight)) << describe(c);
  }
}

TEST(Select, OneNanPoisonsTheRowAndIsNotChosen) {
  RouterConfig c;
  c.num_experts = 6;
  c.top_k = 2;
  c.score = Score::kSigmoid;
  const Chosen chosen = choose(c, {}, {0.0f, kNan, 2.0f, 1.0f, -kInf, -1.0f});
  EXPECT_EQ(chosen.ids, (std::vector<std::int32_t>{2, 3}));
  for (const float weight : chosen.weights) EXPECT_TRUE(std::isnan(weight));
}

TEST(Select, InfinitiesFollowTheArithmetic) {
  RouterConfig c;
  c.num_experts = 4;
  c.top_k = 2;
  c.score = Score::kSigmoid;
  const Chosen sigmoid = choose(c, {}, {-kInf, 0.0f, kInf, -1.0f});
  EXPECT_EQ(sigmoid.ids, (std::vector<std::int32_t>{2, 1}));
  EXPECT_EQ(sigmoid.weights, (std::vector<float>{1.0f, 0.5f}));
  c.score = Score::kSoftmax;
  const Chosen masked = choose(c, {}, {-kInf, 0.0f, 0.0f, -kInf});
  EXPECT_EQ(masked.ids, (std::vector<std::int32_t>{1, 2}));
  EXPECT_EQ(masked.weights, (std::vector<float>{0.5f, 0.5f}));
}

TEST(Select, TiesGoToTheLowestId) {
  RouterConfig c;
  c.num_experts = 40;
  for (const std::int64_t k : {1, 4, 20, 40}) {
    c.top_k = k;
    for (const Score score : {Score::kSoftmax, Score::kSigmoid, Score::kSqrtSoftplus, Score::kSoftmaxTopk}) {
      c.score = score;
      const Chosen chosen = choose(c, {}, std::vector<float>(40, 0.25f));
      for (std::int32_t j = 0; j < k; ++j) EXPECT_EQ(chosen.ids[static_cast<std::size_t>(j)], j);
    }
  }
}

// The definition in float64, for rows without ties: scores, groups by full sorts, weights.
Chosen plain_select(const RouterConfig& c, const RouterTables& tables, const std::vector<float>& logits) {
  const auto n = static_cast<std::size_t>(c.columns()), k = static_cast<std::size_t>(c.top_k);
  std::vector<double> z(n), s(n), choice(n);
  for (std::size_t i = 0; i < n; ++i) {
    z[i] = (double{logits[i]} + (tables.bias.empty() ? 0.0 : double{tables.bias[i]})) * c.logit_mult;
    if (c.softcap > 0.0) z[i] = c.softcap * std::tanh(z[i] / c.softcap);
  }
  double sum = 0.0;
  for (const double v : z) sum += std::exp(v);
  for (std::size_t i = 0; i < n; ++i) {
    s[i] = c.score == Score::kSigmoid        ? 1.0 / (1.0 + std::exp(-z[i]))
           : c.score == Score::kSqrtSoftplus ? std::sqrt(std::log1p(std::exp(z[i])))
                                             : std::exp(z[i]) / sum;
    const bool on_logit = c.select_on == SelectOn::kLogit || c.score == Score::kSoftmaxTopk;
    choice[i] = (on_logit ? z[i] : s[i]) + (tables.selection_bias.empty() ? 0.0 : double{tables.selection_bias[i]});
  }
  if (c.group_rule != GroupRule::kNone) {
    const auto groups = static_cast<std::size_t>(c.n_group), size = n / groups;
    std::vector<std::pair<double, std::size_t>> scores;
    for (std::size_t g = 0; g < groups; ++g) {
      std::vector<double> group(choice.begin() + static_cast<std::ptrdiff_t>(g * size),
                                choice.begin() + static_cast<std::ptrdiff_t>((g + 1) * size));
      std::sort(group.rbegin(), group.rend());
      scores.emplace_back(-(c.group_rule == GroupRule::kTop2Sum ? group[0] + group[1] : group[0]), g);
      for (std::size_t i = g * size; i < (g + 1) * size && c.group_rule == GroupRule::kArgmaxPerGroup; ++i)
        if (choice[i] != group[0]) choice[i] = -1e30;
    }
    std::sort(scores.begin(), scores.end());
    if (c.group_rule != GroupRule::kArgmaxPerGroup)
      for (auto g = static_cast<std::size_t>(c.topk_group); g < groups; ++g)
        for (std::size_t i = 0; i < size; ++i) choice[scores[g].second * size + i] = c.mask_fill;
  }
  Chosen chosen{std::vector<std::int32_t>(n), std::vector<float>(k)};
  std::iota(chosen.ids.begin(), chosen.ids.end(), 0);
  std::stable_sort(chosen.ids.begin(), chosen.ids.end(), [&](std::int32_t a, std::int32_t b) {
    return choice[static_cast<std::size_t>(a)] > choice[static_cast<std::size_t>(b)];
  });
  chosen.ids.resize(k);
  std::vector<double> w;
  for (const std::int32_t id : chosen.ids) w.push_back(s[static_cast<std::size_t>(id)]);
  const double total = std::accumulate(w.begin(), w.end(), 0.0);
  double norm = 1.0;
  if (c.score == Score::kSoftmaxTopk)
    for (double& v : w) v /= total;
  const double weights_sum = c.score == Score::kSoftmaxTopk ? 1.0 : total;
  if (c.renorm == Renorm::kAddEps) norm = weights_sum + c.eps;
  if (c.renorm == Renorm::kClampMin) norm = std::max(weights_sum, c.eps);
  if (c.renorm == Renorm::kPnorm) {
    norm = 0.0;
    for (const double v : w) norm += std::pow(v, c.p);
    norm = std::pow(norm, 1.0 / c.p);
  }
  for (std::size_t j = 0; j < k; ++j) {
    const auto id = static_cast<std::size_t>(chosen.ids[j]);
    chosen.weights[j] = static_cast<float>(
        w[j] / norm * c.scale * (tables.per_expert_scale.empty() ? 1.0 : double{tables.per_expert_scale[id]}));
  }
  return chosen;
}

TEST(Select, IsThePlainFormulation) {
  Rng rng(6);
  int compared = 0;
  for (int round = 0; round < 4000; ++round) {
    const RouterConfig c = random_config(rng);
    if (c.score == Score::kSparsemixer) continue;
    const RouterTables tables = random_tables(rng, c);
    const std::vector<float> row = random_row(rng, c.columns());
    // Masked columns of a 0 fill may tie with each other, and so may nothing else in a random row.
    if (c.group_rule != GroupRule::kNone && c.mask_fill == 0.0 && c.select_on == SelectOn::kLogit) continue;
    const Chosen got = choose(c, tables, row), want = plain_select(c, tables, row);
    ASSERT_EQ(got.ids, want.ids) << describe(c);
    for (std::size_t j = 0; j < got.weights.size(); ++j)
      ASSERT_NEAR(got.weights[j], want.weights[j], 2e-5 * std::fabs(want.weights[j]) + 1e-7) << describe(c);
    ++compared;
  }
  EXPECT_GT(compared, 2000);
}

// Section 7 of the design: two rounds by hand. eps 0.1: a column drops when (m - z) / max(|z|, m) > 0.2.
TEST(Select, SparsemixerByHand) {
  RouterConfig c;
  c.num_experts = 4;
  c.top_k = 2;
  c.score = Score::kSparsemixer;
  c.sparsemixer_eps = 0.1;
  const Chosen chosen = choose(c, {}, {2.0f, 1.9f, 1.0f, 1.6f});
  EXPECT_EQ(chosen.ids, (std::vector<std::int32_t>{0, 1}));
  // Round 1 keeps 2.0, 1.9 and 1.6 ((2 - 1.6) / 2 = 0.2 in float32 is not above the limit); round 2 keeps 1.9 and 1.6.
  EXPECT_NEAR(chosen.weights[0], 1.0 / (1.0 + std::exp(-0.1) + std::exp(-0.4)), 1e-6);
  EXPECT_NEAR(chosen.weights[1], 1.0 / (1.0 + std::exp(-0.3)), 1e-6);
}

TEST(Select, HashLayerKeepsItsIdsAndScoresThem) {
  RouterConfig c;
  c.source = RouterSource::kHashTable;
  c.num_experts = 5;
  c.top_k = 3;
  c.score = Score::kSigmoid;
  const std::int32_t forced[] = {4, 0, 2};
  const Chosen chosen = choose(c, {}, {0.0f, 9.0f, kInf, 9.0f, -kInf}, DType::kFloat32, forced);
  EXPECT_EQ(chosen.ids, (std::vector<std::int32_t>{4, 0, 2}));
  EXPECT_EQ(chosen.weights, (std::vector<float>{0.0f, 0.5f, 1.0f}));
}

// A row's answer is a function of the row: scratch that other configurations used leaves no trace.
TEST(Select, ScratchLeavesNoTrace) {
  Rng rng(7);
  for (int round = 0; round < 300; ++round) {
    const RouterConfig c = random_config(rng);
    const std::vector<float> row = random_row(rng, c.columns());
    const Chosen first = choose(c, {}, row);
    choose(random_config(rng), {}, random_row(rng, 64));
    RouteScratch fresh;
    Chosen second = first;
    select(c, {}, row.data(), DType::kFloat32, nullptr, fresh, second.ids.data(), second.weights.data());
    ASSERT_EQ(first.ids, second.ids);
    ASSERT_EQ(first.weights, second.weights);
  }
}

TEST(RouterInput, IdentityLeavesTheOutputAlone) {
  const float x[] = {1.0f, 2.0f};
  float out[] = {7.0f, 7.0f};
  EXPECT_FALSE(router_input({}, {}, x, 2, DType::kFloat32, out));
  EXPECT_EQ(out[0], 7.0f);
}

}  // namespace
}  // namespace moekit
