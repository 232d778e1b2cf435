// SPDX-License-Identifier: Apache-2.0
// Models in GGUF files: what the pairs must say, and what is told when they do not.
#include <gtest/gtest.h>

#include "checkpoint/expect_part.h"
#include "models/tiny_gguf.h"
#include "moekit/model.h"

namespace moekit {
namespace {

using namespace test;  // NOLINT(google-build-using-namespace): the builder's words

std::string error_of(const TinyGguf& model, std::int64_t layer = 1) {
  const TempFolder folder;
  const std::string path = folder.write("x.gguf", model.file().bytes());
  return checkpoint_error_of([&] { load_block(path, layer); });
}

TEST(GgufModel, ReadsRouterAndSizes) {
  const TempFolder folder;
  const std::string path = folder.write("x.gguf", TinyGguf().file().bytes());
  const ModelInfo info = inspect_model(path);
  EXPECT_EQ(info.family, "deepseek_v3");
  EXPECT_EQ(info.num_layers, 2);
  EXPECT_EQ(info.moe_layers, std::vector<std::int64_t>{1});
  const LoadedBlock block = load_block(path, 1);
  const RouterConfig& router = block.config.router;
  EXPECT_EQ(router.num_experts, 4);
  EXPECT_EQ(router.top_k, 2);
  EXPECT_EQ(router.score, Score::kSigmoid);
  EXPECT_EQ(router.group_rule, GroupRule::kTop2Sum);
  EXPECT_EQ(router.n_group, 2);
  EXPECT_EQ(router.renorm, Renorm::kAddEps);
  EXPECT_EQ(router.scale, 2.5);
  EXPECT_EQ(block.config.expert.input, 32);
  EXPECT_EQ(block.config.shared.expert.intermediate, 32);
  EXPECT_EQ(block.tensors.experts.size(), 4u);
  EXPECT_EQ(load_layer(path, 1).format(), "int8");
  expect_gguf_part(checkpoint_error_of([&] { load_layer(path, 0); }), "layer 0 is dense; layers with experts are [1]");
  expect_gguf_part(checkpoint_error_of([&] { load_layer(path, 2); }), "layer 2 of 2");
  expect_gguf_part(checkpoint_error_of([&] { load_layer(path, -1); }), "layer -1 of 2");
}

TEST(GgufModel, PairsThatStandForNothingAreAbsent) {
  TinyGguf model;
  model.count("expert_gating_func", 0);  // the bias for the selection tells that scores are sigmoids
  model.pairs["expert_weights_scale"] = le(std::uint32_t{kF32}) + le(0.0f);
  model.pairs.erase("expert_group_count");
  model.pairs.erase("expert_group_used_count");
  model.pairs.erase("expert_weights_norm");
  const TempFolder folder;
  const std::string path = folder.write("x.gguf", model.file().bytes());
  const RouterConfig router = block_config(path, 1).router;
  EXPECT_EQ(router.score, Score::kSigmoid);
  EXPECT_EQ(router.scale, 1.0);
  EXPECT_EQ(router.group_rule, GroupRule::kNone);
  EXPECT_EQ(router.renorm, Renorm::kOff);
}

TEST(GgufModel, TellsWhatIsWrong) {
  struct Case {
    const char* name;
    void (*spoil)(TinyGguf&);
    const char* message;
  };
  const Case cases[] = {
      {"architecture", [](TinyGguf& m) { m.architecture = "grok"; },
       "general.architecture is 'grok', known are afmoe, "},
      {"without experts", [](TinyGguf& m) { m.pairs.erase("expert_count"); }, "expert_count is missing"},
      {"no experts", [](TinyGguf& m) { m.count("expert_count", 0); }, "expert_count is 0, expected an integer from 1"},
      {"more chosen than there are", [](TinyGguf& m) { m.count("expert_used_count", 5); },
       "expert_used_count is 5, more than expert_count 4"},
      {"wrong kind", [](TinyGguf& m) { m.pairs["expert_count"] = le(std::uint32_t{kF32}) + le(4.0f); },
       "expert_count is 4.0, expected an integer"},
      {"gating", [](TinyGguf& m) { m.count("expert_gating_func", 7); },
       "expert_gating_func is 7, known for family deepseek_v2: 1"},
      {"not understood", [](TinyGguf& m) { m.count("experts_per_group", 3); },
       "field experts_per_group is 3: it may change the routing"},
      {"clamped", [](TinyGguf& m) { m.pairs["swiglu_clamp_exp"] = le(std::uint32_t{kF32}) + le(7.0f); },
       "swiglu_clamp_exp is 7.0, which is not supported"},
      {"groups", [](TinyGguf& m) { m.count("expert_group_count", 3); }, "expert_group_count is 3 with 4 experts"},
      {"more layers ahead than there are", [](TinyGguf& m) { m.count("nextn_predict_layers", 3); },
       "nextn_predict_layers is 3, more than block_count 2"},
      {"dense layers", [](TinyGguf& m) { m.count("leading_dense_block_count", 2); },
       "leading_dense_block_count is 2, but layer 1 has tensors of experts"},
      {"fewer dense layers", [](TinyGguf& m) { m.count("leading_dense_block_count", 0); },
       "leading_dense_block_count is 0, but layer 0 lacks tensors of experts"},
      {"missing tensor", [](TinyGguf& m) { m.tensors.erase("blk.1.ffn_up_exps.weight"); },
       "no tensor 'blk.1.ffn_up_exps.weight' [4, 32, 32]"},
      {"missing router", [](TinyGguf& m) { m.tensors.erase("blk.1.ffn_gate_inp.weight"); },
       "no tensor 'blk.1.ffn_gate_inp.weight'"},
      {"missing bias", [](TinyGguf& m) { m.tensors.erase("blk.1.exp_probs_b.bias"); },
       "no tensor 'blk.1.exp_probs_b.bias' [4]"},
      {"all experts missing",
       [](TinyGguf& m) {
         for (const char* part : {"gate", "up", "down"})
           m.tensors.erase("blk.1.ffn_" + std::string(part) + "_exps.weight");
       },
       "no tensor 'blk.1.ffn_gate_exps.weight'"},
      {"extra tensor",
       [](TinyGguf& m) {
         m.tensors["blk.1.ffn_gate_exps.unknown"] = {0, {4}};
       },
       "unexpected tensor 'blk.1.ffn_gate_exps.unknown' [4]"},
      {"shape",
       [](TinyGguf& m) {
         m.tensors["blk.1.ffn_up_exps.weight"] = {8, {32, 64, 4}};
       },
       "'blk.1.ffn_up_exps.weight' has shape [4, 64, 32], expected [4, 32, 32]"},
      {"fewer experts",
       [](TinyGguf& m) {
         m.tensors["blk.1.ffn_up_exps.weight"] = {8, {32, 32, 3}};
       },
       "has shape [3, 32, 32], expected [4, 32, 32]"},
      {"blocks",
       [](TinyGguf& m) {
         m.tensors["blk.1.ffn_up_exps.weight"] = {20, {32, 32, 4}};
       },
       "'blk.1.ffn_up_exps.weight' is in blocks of IQ4_NL, those that are read are Q4_0, "},
      {"integers",
       [](TinyGguf& m) {
         m.tensors["blk.1.exp_probs_b.bias"] = {26, {4}};
       },
       "'blk.1.exp_probs_b.bias' has dtype int32"},
  };
  ASSERT_EQ(error_of(TinyGguf()), "<no error>");
  for (const Case& each : cases) {
    SCOPED_TRACE(each.name);
    TinyGguf model;
    each.spoil(model);
    expect_gguf_part(error_of(model), each.message);
  }
}

/// Whatever the header says: a block, or a CheckpointError.
TEST(GgufModel, BitsOfTheHeader) {
  const Gguf file = TinyGguf().file();
  const std::string bytes = file.bytes();
  const TempFolder folder;
  const std::size_t header = file.header().size();
  std::size_t refused = 0;
  for (std::size_t bit = 0; bit < 8 * header; bit += 13) {  // 8 and 13 are coprime: every bit of a byte in turn
    std::string mutated = bytes;
    mutated[bit / 8] = static_cast<char>(mutated[bit / 8] ^ (1 << (bit % 8)));
    const std::string path = folder.write("x.gguf", mutated);
    try {
      load_block(path, 1);
    } catch (const CheckpointError& error) {
      ++refused;
      EXPECT_NE(std::string(error.what()).find("x.gguf"), std::string::npos) << error.what();
    }
  }
  EXPECT_GT(refused, header / 5);
}

}  // namespace
}  // namespace moekit
