// SPDX-License-Identifier: Apache-2.0
// Fields that differ from layer to layer or choose among forms, and those that are refused because they are not known.
#include <gtest/gtest.h>

#include "models/tiny_config.h"

namespace moekit {
namespace {

using nlohmann::json;
using test::config_error_of;
using test::Layers;
using test::layers_of;
using test::TempFolder;
using test::with;

BlockConfig block_of(const json& config, std::int64_t layer) {
  const TempFolder folder;
  folder.write("config.json", config.dump());
  return block_config(folder.path(), layer);
}

const json kDeepseekV4 = {{"model_type", "deepseek_v4"},
                          {"hidden_size", 6},
                          {"num_hidden_layers", 5},
                          {"moe_intermediate_size", 5},
                          {"n_routed_experts", 4},
                          {"num_experts_per_tok", 2},
                          {"vocab_size", 9},
                          {"routed_scaling_factor", 1.5}};
const json kStep = {{"model_type", "step3p5"},
                    {"hidden_size", 6},
                    {"num_hidden_layers", 3},
                    {"moe_num_experts", 4},
                    {"moe_intermediate_size", 5},
                    {"moe_top_k", 2},
                    {"share_expert_dim", 7},
                    {"moe_layers_enum", "1,2"},
                    {"swiglu_limits", {0.0, 7, nullptr}},
                    {"swiglu_limits_shared", {0.0, 0.0, 16}}};
const json kNemotron = {{"model_type", "nemotron_h"}, {"hidden_size", 6},
                        {"num_hidden_layers", 4},     {"hybrid_override_pattern", "ME*E"},
                        {"moe_intermediate_size", 5}, {"moe_shared_expert_intermediate_size", 3},
                        {"n_routed_experts", 4},      {"num_experts_per_tok", 2},
                        {"mlp_hidden_act", "relu2"}};

TEST(Dialects, FirstLayersRouteByHash) {
  EXPECT_EQ(layers_of(kDeepseekV4), (Layers{0, 1, 2, 3, 4}));
  EXPECT_EQ(block_of(kDeepseekV4, 2).router.source, RouterSource::kHashTable);  // three by default
  EXPECT_EQ(block_of(kDeepseekV4, 3).router.source, RouterSource::kComputed);
  EXPECT_EQ(block_of(with(kDeepseekV4, "num_hash_layers", 1), 1).router.source, RouterSource::kComputed);
  const json listed = with(kDeepseekV4, "mlp_layer_types", {"moe", "hash_moe", "moe", "moe", "moe"});
  EXPECT_EQ(block_of(listed, 0).router.source, RouterSource::kComputed);
  EXPECT_EQ(block_of(listed, 1).router.source, RouterSource::kHashTable);
  EXPECT_NE(config_error_of(with(kDeepseekV4, "mlp_layer_types", {"moe", "fast", "moe", "moe", "moe"}))
                .find("holds \"fast\", expected moe, hash_moe"),
            std::string::npos);
}

TEST(Dialects, LimitsOfEachLayer) {
  EXPECT_EQ(layers_of(kStep), (Layers{1, 2}));
  const BlockConfig clamped = block_of(kStep, 1), shared_clamped = block_of(kStep, 2);
  EXPECT_EQ(clamped.expert.act, Activation::kSwigluStep);
  EXPECT_EQ(clamped.expert.limit, 7.0);
  EXPECT_EQ(clamped.shared.expert.act, Activation::kSilu);
  EXPECT_EQ(shared_clamped.expert.act, Activation::kSilu);
  EXPECT_EQ(shared_clamped.shared.expert.act, Activation::kSwigluStep);
  EXPECT_EQ(shared_clamped.shared.expert.limit, 16.0);
  EXPECT_NE(config_error_of(with(kStep, "swiglu_limits", {1.0})).find("expected one for each of 3 layers"),
            std::string::npos);
  EXPECT_NE(config_error_of(with(kStep, "swiglu_limits", 7.0)).find("expected a list of numbers"), std::string::npos);
  EXPECT_NE(config_error_of(with(kStep, "swiglu_limits", {0, "7", 0})).find("expected finite numbers"),
            std::string::npos);
  for (const char* list : {"1,,2", "1, 2", "x", "", "1,9999999"})
    EXPECT_NE(config_error_of(with(kStep, "moe_layers_enum", list)).find("expected layer indices"), std::string::npos)
        << list;
}

TEST(Dialects, PatternOfLayers) {
  EXPECT_EQ(layers_of(kNemotron), (Layers{1, 3}));
  EXPECT_EQ(block_of(kNemotron, 1).expert.act, Activation::kRelu2);
  EXPECT_EQ(block_of(kNemotron, 1).shared.expert.intermediate, 3);
  EXPECT_NE(config_error_of(with(kNemotron, "hybrid_override_pattern", "ME")).find("a letter for each of 4 layers"),
            std::string::npos);
  EXPECT_NE(config_error_of(with(kNemotron, "moe_latent_size", 3)).find("moe_latent_size is 3, which is not supported"),
            std::string::npos);
}

TEST(Dialects, ListsWithAValueForEachLayer) {
  const json config = {{"model_type", "hunyuan_v1_moe"}, {"hidden_size", 6},      {"num_hidden_layers", 2},
                       {"intermediate_size", 5},         {"num_experts", {4, 3}}, {"moe_topk", {1, 2}}};
  EXPECT_EQ(block_of(config, 0).router.num_experts, 4);
  EXPECT_EQ(block_of(config, 1).router.num_experts, 3);
  EXPECT_EQ(block_of(config, 1).router.top_k, 2);
  EXPECT_NE(config_error_of(with(config, "moe_topk", {1, 2, 3})).find("expected one for each of 2 layers"),
            std::string::npos);
}

TEST(Dialects, ChoicesByName) {
  const json config = {{"model_type", "cohere2_moe"},
                       {"hidden_size", 6},
                       {"num_hidden_layers", 1},
                       {"intermediate_size", 5},
                       {"num_experts", 4},
                       {"num_experts_per_tok", 2},
                       {"num_shared_experts", 2},
                       {"expert_selection_fn", "sigmoid"},
                       {"shared_expert_combination_strategy", "sum"}};
  EXPECT_EQ(block_of(config, 0).router.score, Score::kSigmoid);
  EXPECT_EQ(block_of(config, 0).shared.gate, SharedGate::kAdd);
  EXPECT_NE(config_error_of(with(config, "expert_selection_fn", "argmax")).find("known are softmax, sigmoid"),
            std::string::npos);
}

TEST(Dialects, NestedFields) {
  const json ffn = {{"ffn_hidden_size", 5},
                    {"moe_num_experts", 4},
                    {"moe_top_k", 2},
                    {"moe_normalize_expert_weights", nullptr},
                    {"uniform_expert_assignment", false}};
  const json config = {{"model_type", "dbrx"}, {"d_model", 6}, {"n_layers", 1}, {"ffn_config", ffn}};
  EXPECT_EQ(block_of(config, 0).router.renorm, Renorm::kOff);
  EXPECT_EQ(block_of(with(config, "ffn_config", with(ffn, "moe_normalize_expert_weights", 2)), 0).router.p, 2.0);
  EXPECT_NE(
      config_error_of(with(config, "ffn_config", with(ffn, "moe_extra", 1))).find("field ffn_config.moe_extra is 1"),
      std::string::npos);
}

TEST(Dialects, IdentityExpertsAreColumns) {
  const json config = {
      {"model_type", "longcat_flash"}, {"hidden_size", 6},     {"num_layers", 1}, {"expert_ffn_hidden_size", 5},
      {"n_routed_experts", 2},         {"zero_expert_num", 3}, {"moe_topk", 4}};
  EXPECT_EQ(block_of(config, 0).router.columns(), 5);
  EXPECT_NE(config_error_of(with(config, "moe_topk", 6)).find("is 6, more than"), std::string::npos);
  EXPECT_NE(config_error_of(with(config, "zero_expert_type", "drop")).find("zero_expert_type is \"drop\""),
            std::string::npos);
}

}  // namespace
}  // namespace moekit
