// SPDX-License-Identifier: Apache-2.0
// Against what the routers of transformers answered (make_transformers_routers.py): the same experts, and weights that
// differ by the last bits of an exponential.
#include <gtest/gtest.h>

#include <cmath>
#include <fstream>
#include <functional>
#include <map>
#include <nlohmann/json.hpp>

#include "routing/routing.h"

namespace moekit {
namespace {

using Rows = std::vector<std::vector<float>>;

void sigmoid(RouterConfig& c, double eps, double scale) {
  c.score = Score::kSigmoid;
  c.renorm = Renorm::kAddEps;
  c.eps = eps;
  c.scale = scale;
}

void groups(RouterConfig& c, GroupRule rule, double fill) {
  c.group_rule = rule;
  c.n_group = 4;
  c.topk_group = 2;
  c.mask_fill = fill;
}

// The schema's values for each family, as the families' config readers are to set them.
const std::map<std::string, std::function<void(RouterConfig&)>> kRouters = {
    {"afmoe", [](RouterConfig& c) { sigmoid(c, 1e-20, 1.5); }},
    {"cohere2_moe",
     [](RouterConfig& c) {
       c.score = Score::kSoftmaxTopk;
       c.out = Precision::kNative;
     }},
    {"dbrx",
     [](RouterConfig& c) {
       c.score_in = Precision::kNative;
       c.renorm = Renorm::kPnorm;
       c.p = 1.0;
     }},
    {"deepseek_v2",
     [](RouterConfig& c) {
       c.matmul = Precision::kFloat32;
       c.scale = 2.5;
       groups(c, GroupRule::kMax, 0.0);
     }},
    {"deepseek_v3",
     [](RouterConfig& c) {
       sigmoid(c, 1e-20, 2.5);
       c.matmul = Precision::kFloat32;
       groups(c, GroupRule::kTop2Sum, -std::numeric_limits<double>::infinity());
     }},
    {"deepseek_v4",
     [](RouterConfig& c) {
       sigmoid(c, 1e-20, 2.5);
       c.score = Score::kSqrtSoftplus;
       c.score_in = Precision::kNative;
     }},
    {"deepseek_v4_hash",
     [](RouterConfig& c) {
       sigmoid(c, 1e-20, 2.5);
       c.score = Score::kSqrtSoftplus;
       c.score_in = Precision::kNative;
       c.source = RouterSource::kHashTable;
     }},
    {"ernie4_5_moe",
     [](RouterConfig& c) {
       c.matmul = Precision::kFloat32;
       c.renorm = Renorm::kClampMin;
       c.eps = 1e-12;
       c.out = Precision::kNative;
     }},
    {"gemma4",
     [](RouterConfig& c) {
       c.in_rmsnorm = true;
       c.in_eps = 1e-6;
       c.in_mult = 1.0 / std::sqrt(24.0);
       c.renorm = Renorm::kAddEps;
     }},
    {"gpt_oss",
     [](RouterConfig& c) {
       c.score = Score::kSoftmaxTopk;
       c.score_in = Precision::kNative;
     }},
    {"granitemoe",
     [](RouterConfig& c) {
       c.score = Score::kSoftmaxTopk;
       c.out = Precision::kNative;
     }},
    {"kolibri1",
     [](RouterConfig& c) {
       sigmoid(c, 0.0, 1.0);
       c.matmul = Precision::kFloat32;
       c.select_on = SelectOn::kLogit;
     }},
    {"lfm2_moe",
     [](RouterConfig& c) {
       sigmoid(c, 1e-6, 2.5);
       c.score_in = Precision::kNative;
     }},
    {"llama4",
     [](RouterConfig& c) {
       c.score = Score::kSigmoid;
       c.select_on = SelectOn::kLogit;
       c.out = Precision::kNative;
       c.apply_at = ApplyAt::kInput;
     }},
    {"longcat_flash",
     [](RouterConfig& c) {
       c.matmul = Precision::kFloat32;
       c.num_experts = 12;
       c.num_identity = 4;
       c.scale = 2.5;
     }},
    {"minimax_m2", [](RouterConfig& c) { sigmoid(c, 0.0, 1.0); }},
    {"mistral4",
     [](RouterConfig& c) {
       c.score_in = Precision::kNative;
       c.renorm = Renorm::kAddEps;
       c.eps = 1e-20;
       c.scale = 2.5;
       groups(c, GroupRule::kTop2Sum, 0.0);
     }},
    {"mixtral", [](RouterConfig& c) { c.renorm = Renorm::kAddEps; }},
    {"phimoe",
     [](RouterConfig& c) {
       c.score = Score::kSparsemixer;
       c.sparsemixer_eps = 0.1;
       c.score_in = Precision::kNative;
     }},
    {"qwen3_moe",
     [](RouterConfig& c) {
       c.renorm = Renorm::kAddEps;
       c.out = Precision::kNative;
     }},
};

const nlohmann::json& cases() {
  static const nlohmann::json list = [] {
    std::ifstream file(std::string(MOEKIT_ROUTING_DATA) + "/transformers_routers.json");
    return nlohmann::json::parse(file);
  }();
  return list;
}

struct TransformersRouter : testing::TestWithParam<std::size_t> {};

TEST_P(TransformersRouter, Agrees) {
  const nlohmann::json& item = cases()[GetParam()];
  const bool bf16 = item["dtype"] == "bfloat16";
  const DType dtype = bf16 ? DType::kBFloat16 : DType::kFloat32;
  const auto logits = item["logits"].get<Rows>(), weights = item["weights"].get<Rows>();
  const auto ids = item["ids"].get<std::vector<std::vector<std::int32_t>>>();

  RouterConfig config;
  config.num_experts = 16;
  config.top_k = static_cast<std::int64_t>(ids.at(0).size());
  kRouters.at(item["router"])(config);
  ASSERT_NO_THROW(validate(config));
  RouterTables tables;
  tables.selection_bias = item["selection_bias"].get<std::vector<float>>();
  if (item.contains("per_expert_scale")) tables.per_expert_scale = item["per_expert_scale"].get<std::vector<float>>();

  // bfloat16: the last of 8 bits may fall the other way where float32 intermediate values differ in theirs.
  const double tolerance = bf16 ? 1.0 / 128 : 1e-6;
  RouteScratch scratch;
  for (std::size_t t = 0; t < logits.size(); ++t) {
    std::vector<std::int32_t> got_ids(ids[t].size());
    std::vector<float> got(ids[t].size());
    const std::int32_t* forced = config.source == RouterSource::kHashTable ? ids[t].data() : nullptr;
    select(config, tables, logits[t].data(), dtype, forced, scratch, got_ids.data(), got.data());
    std::map<std::int32_t, float> mine, theirs;
    for (std::size_t j = 0; j < got.size(); ++j) {
      mine[got_ids[j]] = got[j];
      theirs[ids[t][j]] = weights[t][j];
    }
    for (const auto& [id, weight] : theirs) {
      ASSERT_EQ(mine.count(id), 1u) << "row " << t << ": expert " << id << " is not among the chosen";
      EXPECT_NEAR(mine[id], weight, tolerance * std::fabs(weight)) << "row " << t << ", expert " << id;
    }
  }
}

INSTANTIATE_TEST_SUITE_P(Of, TransformersRouter, testing::Range(std::size_t{0}, cases().size()), [](const auto& item) {
  return cases()[item.param]["router"].template get<std::string>() + "_" +
         cases()[item.param]["dtype"].template get<std::string>();
});

// Gemma 4 norms and scales the router's input, rounding to the model's dtype at each step.
TEST(TransformersRouterInput, OfGemma4) {
  int found = 0;
  for (const nlohmann::json& item : cases()) {
    if (item["router"] != "gemma4") continue;
    ++found;
    RouterConfig config;
    kRouters.at("gemma4")(config);
    RouterTables tables;
    tables.in_scale = item["in_scale"].get<std::vector<float>>();
    const auto x = item["x"].get<Rows>(), want = item["input"].get<Rows>();
    const bool bf16 = item["dtype"] == "bfloat16";
    for (std::size_t t = 0; t < x.size(); ++t) {
      std::vector<float> got(x[t].size());
      ASSERT_TRUE(router_input(config, tables, x[t].data(), 24, bf16 ? DType::kBFloat16 : DType::kFloat32, got.data()));
      for (std::size_t i = 0; i < got.size(); ++i)
        EXPECT_NEAR(got[i], want[t][i], (bf16 ? 1.0 / 128 : 1e-6) * std::fabs(want[t][i]));
    }
  }
  EXPECT_EQ(found, 2);
}

}  // namespace
}  // namespace moekit
