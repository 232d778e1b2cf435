// SPDX-License-Identifier: Apache-2.0
// config.json: dialects, layers with experts, and every field that is wrong or not understood named.
#include <gtest/gtest.h>

#include "models/tiny_config.h"

namespace moekit {
namespace {

using nlohmann::json;
using test::checkpoint_error_of;
using test::config_error_of;
using test::Layers;
using test::layers_of;
using test::TempFolder;
using test::with;

const json kQwen = test::tiny_qwen3_moe().config;
const json kDeepseek = test::tiny_deepseek_v3().config;

TEST(ModelConfig, InspectNamesFamilyAndLayers) {
  const TempFolder folder;
  folder.write("config.json", kQwen.dump());
  const ModelInfo info = inspect_model(folder.path());
  EXPECT_EQ(info.family, "qwen3_moe");
  EXPECT_EQ(info.num_layers, 2);
  EXPECT_EQ(info.moe_layers, Layers{1});
}

TEST(ModelConfig, SparseStepCountsFromOne) {
  json config = with(kQwen, "num_hidden_layers", 7);
  EXPECT_EQ(layers_of(config), (Layers{1, 3, 5}));
  config["decoder_sparse_step"] = 3;
  EXPECT_EQ(layers_of(config), (Layers{2, 5}));
  config["decoder_sparse_step"] = 1;
  config["mlp_only_layers"] = {0, 4, 6, 99};
  EXPECT_EQ(layers_of(config), (Layers{1, 2, 3, 5}));
  config["mlp_only_layers"] = nullptr;
  EXPECT_EQ(layers_of(config).size(), 7u);
}

TEST(ModelConfig, DenseLayersFirst) {
  json config = with(kDeepseek, "num_hidden_layers", 6);
  config["first_k_dense_replace"] = 3;
  EXPECT_EQ(layers_of(config), (Layers{3, 4, 5}));
  config["moe_layer_freq"] = 2;
  EXPECT_EQ(layers_of(config), (Layers{4}));
  config["moe_layer_freq"] = {0, 1, 0, 1, 1, 0};
  EXPECT_EQ(layers_of(config), (Layers{1, 3, 4}));
  config["moe_layer_freq"] = {0, 1};
  EXPECT_NE(config_error_of(config).find("expected one for each of 6 layers"), std::string::npos);
}

TEST(ModelConfig, RouterOfEachFamily) {
  const TempFolder folder;
  folder.write("config.json", kDeepseek.dump());
  const BlockConfig block = block_config(folder.path(), 1);
  EXPECT_EQ(block.router.score, Score::kSigmoid);
  EXPECT_EQ(block.router.matmul, Precision::kFloat32);
  EXPECT_EQ(block.router.group_rule, GroupRule::kTop2Sum);
  EXPECT_EQ(block.router.n_group, 2);
  EXPECT_EQ(block.router.renorm, Renorm::kAddEps);
  EXPECT_EQ(block.router.eps, 1e-20);
  EXPECT_EQ(block.router.scale, 1.5);
  EXPECT_EQ(block.shared.count, 1);
  EXPECT_EQ(block.shared.expert.intermediate, 10);
  EXPECT_EQ(block.expert.intermediate, 5);
  folder.write("config.json", with(kQwen, "norm_topk_prob", false).dump());
  EXPECT_EQ(block_config(folder.path(), 1).router.renorm, Renorm::kOff);
  EXPECT_EQ(block_config(folder.path(), 1).router.out, Precision::kNative);
}

TEST(ModelConfig, DialectsAgreeOrAreNamed) {
  json config = kQwen;
  config["num_local_experts"] = 4;
  EXPECT_EQ(layers_of(config), Layers{1});
  config["num_local_experts"] = 5;
  EXPECT_NE(config_error_of(config).find("num_experts is 4 and num_local_experts is 5"), std::string::npos);
  config.erase("num_experts");
  EXPECT_EQ(layers_of(config), Layers{1});
}

TEST(ModelConfig, TextModelOfAMultimodalFile) {
  const json config = {{"model_type", "some_vl"}, {"text_config", kQwen}, {"vision_config", {{"num_experts", 3}}}};
  EXPECT_EQ(layers_of(config), Layers{1});
}

TEST(ModelConfig, WrongFieldsAreNamed) {
  const std::pair<json, const char*> cases[] = {
      {with(kQwen, "model_type", "llama"), "model_type is \"llama\", known are afmoe, aria"},
      {json::object(), "no model_type, known are"},
      {with(kQwen, "num_experts", 0), "is 0, expected an integer from 1"},
      {with(kQwen, "num_experts", -4), "is -4, expected an integer from 1"},
      {with(kQwen, "num_experts", 4.0), "is 4.0, expected an integer"},
      {with(kQwen, "num_experts", "4"), "is \"4\", expected an integer"},
      {with(kQwen, "num_experts", 1e30), "expected an integer"},
      {with(kQwen, "num_experts", 18446744073709551615u), "is 18446744073709551615, expected an integer"},
      {with(kQwen, "num_experts_per_tok", 5), "is 5, more than num_experts"},
      {with(kQwen, "num_experts_per_tok", nullptr), "num_experts_per_tok is null"},
      {with(kQwen, "num_hidden_layers", 1'000'000'000), "the limit is 100000"},
      {with(kQwen, "hidden_size", 2147483648), "to 2147483647"},
      {with(kQwen, "norm_topk_prob", 1), "norm_topk_prob is 1, expected true or false"},
      {with(kQwen, "hidden_act", "mish"), "hidden_act is \"mish\", known are silu"},
      {with(kQwen, "decoder_sparse_step", 0), "decoder_sparse_step is 0"},
      {with(kQwen, "mlp_only_layers", "x"), "expected a list of integers"},
      {with(kQwen, "scoring_func", "sigmoid"), "field scoring_func is \"sigmoid\": it may change the routing"},
      {with(kQwen, "moe_extra_router", true), "field moe_extra_router is true"},
      {with(kQwen, "n_shared_experts", 1), "field n_shared_experts is 1"},
      {with(kQwen, "quantization_config", {{"quant_method", "bitsandbytes"}}),
       "quant_method \"bitsandbytes\", known are fp8, compressed-tensors, gptq"},
      {with(kDeepseek, "scoring_func", "softmax"),
       "scoring_func is \"softmax\", known for family deepseek_v3: \"sigmoid\""},
      {with(kDeepseek, "topk_method", "greedy"), "topk_method is \"greedy\""},
      {with(kDeepseek, "n_group", 3), "expected a divisor of the experts"},
      {with(kDeepseek, "topk_group", 3), "topk_group is 3, more than n_group 2"},
      {with(kDeepseek, "num_experts_per_tok", 3), "more than the 2 experts in the groups kept"},
      {with(kDeepseek, "routed_scaling_factor", "2"), "expected a finite number"},
  };
  for (const auto& [config, part] : cases) {
    const std::string error = config_error_of(config);
    EXPECT_NE(error.find(part), std::string::npos) << error << "\nlacks: " << part;
    EXPECT_NE(error.find("config.json"), std::string::npos) << error;
  }
}

TEST(ModelConfig, FieldsThatAreOffNeedNoUnderstanding) {
  EXPECT_EQ(layers_of(with(with(kQwen, "moe_extra_router", false), "num_shared_experts", nullptr)), Layers{1});
}

TEST(ModelConfig, MalformedFiles) {
  const TempFolder folder;
  EXPECT_NE(checkpoint_error_of([&] { inspect_model(folder.path()); }).find("config.json"), std::string::npos);
  const std::string cases[] = {"",
                               "[]",
                               "{",
                               "{\"a\":1,\"a\":2}",
                               "{\"a\":" + std::string(100'000, '['),
                               "{\"hidden_size\":1e999}",
                               std::string("{}\0{", 4),
                               std::string(5 << 20, ' ')};
  for (const std::string& text : cases) {
    folder.write("config.json", text);
    const std::string error = checkpoint_error_of([&] { inspect_model(folder.path()); });
    EXPECT_NE(error.find("config.json"), std::string::npos) << error;
  }
}

TEST(ModelConfig, LayersThatHaveNoExperts) {
  const TempFolder folder;
  folder.write("config.json", kQwen.dump());
  const auto error = [&](std::int64_t layer) {
    return checkpoint_error_of([&] { block_config(folder.path(), layer); });
  };
  EXPECT_NE(error(0).find("layer 0 is dense; layers with experts are [1]"), std::string::npos) << error(0);
  EXPECT_NE(error(2).find("layer 2 of 2"), std::string::npos) << error(2);
  EXPECT_NE(error(-1).find("layer -1 of 2"), std::string::npos) << error(-1);
}

TEST(ModelConfig, FamiliesAreListedSorted) {
  const std::vector<std::string_view> names = model_families();
  EXPECT_TRUE(std::is_sorted(names.begin(), names.end()));
  for (const char* name : {"deepseek_v3", "mixtral", "qwen3_moe"})
    EXPECT_TRUE(std::binary_search(names.begin(), names.end(), std::string_view(name))) << name;
}

}  // namespace
}  // namespace moekit
