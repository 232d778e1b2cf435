// SPDX-License-Identifier: Apache-2.0
// Selection on the device against select() of the library, rule by rule.
#include <cmath>
#include <limits>

#include "backends/cuda/host_params.h"
#include "conformance/cases.h"
#include "cuda/simt/device_array.h"
#include "routing/routing.h"

namespace simt {
namespace {

using namespace moekit;
using conformance::Rng;
using conformance::Rule;

RouterTables random_tables(Rng& rng, const RouterConfig& config, const conformance::RouterParts& parts) {
  const auto vector = [&](bool present, float scale) {
    std::vector<float> values(present ? static_cast<std::size_t>(config.columns()) : 0);
    for (float& v : values) v = conformance::normal(rng, scale);
    return values;
  };
  RouterTables tables;
  tables.bias = vector(parts.bias, 0.5f);
  tables.selection_bias = vector(parts.selection_bias, 0.2f);
  tables.per_expert_scale = vector(parts.per_expert_scale, 1.0f);
  if (config.source != RouterSource::kHashTable) return tables;
  tables.vocabulary = conformance::kVocabulary;
  for (std::int64_t i = 0; i < tables.vocabulary * config.top_k; ++i)
    tables.tid2eid.push_back(static_cast<std::int32_t>((i * 7 + i / 5) % config.columns()));
  return tables;
}

struct Selected {
  std::vector<int> ids;
  std::vector<float> weights;
};

Selected select_on_device(const RouterConfig& config, const RouterTables& tables, const std::vector<float>& logits,
                          const std::vector<long long>& token_ids, int tokens, DType native) {
  const auto slots = static_cast<std::size_t>(tokens * config.top_k);
  DeviceArray<float> z(logits), bias(tables.bias), selection_bias(tables.selection_bias),
      scale(tables.per_expert_scale), weights(slots);
  DeviceArray<int> table(std::vector<int>(tables.tid2eid.begin(), tables.tid2eid.end())), ids(slots),
      bad(std::vector<int>{0});
  DeviceArray<long long> given(token_ids);
  cuda::SelectParams p = cuda::select_params(config, native);
  p.logits = z.data();
  p.logits_stride = p.columns;
  p.tokens = tokens;
  p.bias = tables.bias.empty() ? nullptr : bias.data();
  p.selection_bias = tables.selection_bias.empty() ? nullptr : selection_bias.data();
  p.per_expert_scale = tables.per_expert_scale.empty() ? nullptr : scale.data();
  if (config.source == RouterSource::kHashTable) {
    p.tid2eid = table.data();
    p.token_ids = given.data();
    p.vocabulary = tables.vocabulary;
  }
  p.ids = ids.data();
  p.weights = weights.data();
  p.bad_input = bad.data();
  const char* const kernel = config.score == Score::kSparsemixer ? "moekit_sparsemixer" : "moekit_select";
  run(kernel, {static_cast<unsigned>(tokens + 1) / 2, 1, 1}, 64,
      3 * ((static_cast<std::size_t>(p.columns) * 2 * 4 + 15) / 16 * 16), p);
  EXPECT_EQ(bad.get()[0], 0);
  return {ids.get(), weights.get()};
}

// Weights of 16 bits may round to a neighbour where sums in another order differ in their last bit.
void expect_weights(float got, float want, DType native) {
  const float relative = native == DType::kFloat32 ? 4e-6f : native == DType::kBFloat16 ? 0.02f : 0.0025f;
  if (std::isnan(want) || std::isinf(want)) {
    EXPECT_EQ(std::isnan(got), std::isnan(want));
    if (std::isinf(want)) {
      EXPECT_EQ(got, want);
    }
    return;
  }
  EXPECT_NEAR(got, want, std::fabs(want) * relative + (native == DType::kFloat16 ? 0x1p-23f : 1e-30f));
}

void check(const RouterConfig& config, const RouterTables& tables, const std::vector<float>& logits, int tokens,
           DType native) {
  std::vector<long long> token_ids(config.source == RouterSource::kHashTable ? static_cast<std::size_t>(tokens) : 0);
  for (std::size_t t = 0; t < token_ids.size(); ++t)
    token_ids[t] = static_cast<long long>(t * 11 % conformance::kVocabulary);
  expect_same_under_all_orders([&] {
    const Selected got = select_on_device(config, tables, logits, token_ids, tokens, native);
    RouteScratch scratch;
    std::vector<std::int32_t> ids(static_cast<std::size_t>(config.top_k));
    std::vector<float> weights(ids.size());
    for (int t = 0; t < tokens; ++t) {
      const auto row = static_cast<std::size_t>(t);
      const std::int32_t* const forced =
          token_ids.empty() ? nullptr : tables.tid2eid.data() + token_ids[row] * config.top_k;
      select(config, tables, logits.data() + t * config.columns(), native, forced, scratch, ids.data(), weights.data());
      for (std::size_t j = 0; j < ids.size(); ++j) {
        EXPECT_EQ(got.ids[row * ids.size() + j], ids[j]) << "row " << t << ", " << j;
        expect_weights(got.weights[row * ids.size() + j], weights[j], native);
      }
    }
    std::vector<std::byte> bits;
    append_bits(bits, got.ids);
    append_bits(bits, got.weights);
    return bits;
  });
}

struct SelectRule : testing::TestWithParam<Rule> {};

TEST_P(SelectRule, EqualsTheLibrarys) {
  const Rule& rule = GetParam();
  for (const DType native : {DType::kFloat32, DType::kBFloat16, DType::kFloat16}) {
    for (const std::int64_t experts : {1, 3, 7, 8, 64, 160}) {
      if (experts < rule.min_experts) continue;
      const RouterConfig config =
          conformance::make_config(rule, conformance::forms()[2], experts, conformance::sizes()[0]).router;
      if (config.source == RouterSource::kExternal) continue;
      SCOPED_TRACE(std::to_string(experts) + " experts, " + std::string(dtype_name(native)));
      Rng rng(7);
      const RouterTables tables = random_tables(rng, config, rule.parts);
      constexpr int kTokens = 9;
      std::vector<float> logits(static_cast<std::size_t>(kTokens * config.columns()));
      for (float& z : logits) z = std::normal_distribution<float>(0.0f, 1.5f)(rng);
      check(config, tables, logits, kTokens, native);
    }
  }
}

// Ties, signed zeros, infinities and NaN: the order of the choice is total, and ids are those of the library.
TEST_P(SelectRule, FollowsTheTotalOrder) {
  const Rule& rule = GetParam();
  RouterConfig config = conformance::make_config(rule, conformance::forms()[2], 64, conformance::sizes()[0]).router;
  if (config.source == RouterSource::kExternal) return;
  const RouterTables tables = [&] {
    Rng rng(8);
    RouterTables t = random_tables(rng, config, rule.parts);
    for (auto* v : {&t.bias, &t.selection_bias}) std::fill(v->begin(), v->end(), 0.0f);
    return t;
  }();
  constexpr float kInfinity = std::numeric_limits<float>::infinity();
  const float values[] = {0.0f, -0.0f, 1.0f, 1.0f, -1.0f, 0.5f};
  constexpr int kTokens = 6;
  std::vector<float> logits(static_cast<std::size_t>(kTokens * config.columns()));
  for (std::size_t i = 0; i < logits.size(); ++i) logits[i] = values[(i * 5 + i / 7) % 6];
  const auto row = [&](int t) { return logits.begin() + t * config.columns(); };
  std::fill(row(1), row(2), 0.25f);
  std::fill(row(2), row(3), -kInfinity);
  row(3)[5] = std::nanf("");
  row(3)[9] = -kInfinity;
  std::fill(row(4), row(5), std::nanf(""));
  row(5)[17] = -kInfinity;
  check(config, tables, logits, kTokens, DType::kFloat32);
}

INSTANTIATE_TEST_SUITE_P(Cuda, SelectRule, testing::ValuesIn(conformance::rules()),
                         [](const testing::TestParamInfo<Rule>& one) { return std::string(one.param.name); });

}  // namespace
}  // namespace simt
