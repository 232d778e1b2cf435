// SPDX-License-Identifier: Apache-2.0
// Accounting: every tensor of the layer has its place and shape, whichever layout holds it.
#include <gtest/gtest.h>

#include "models/expect_error.h"

namespace moekit {
namespace {

using test::checkpoint_error_of;
using test::expect_error;
using test::kTinyBlock;
using test::TempFolder;
using test::TinyModel;

std::string expert(int index, const char* projection) {
  return kTinyBlock + ("experts." + std::to_string(index)) + "." + projection + ".weight";
}
/// The experts of a tiny model stacked, optionally [E, in, out].
TinyModel stacked(TinyModel model, bool transposed = false) {
  for (int e = 0; e < 4; ++e)
    for (const char* name : {"gate_proj", "up_proj", "down_proj"}) model.tensors.erase(expert(e, name));
  model.add(std::string(kTinyBlock) + "experts.gate_up_proj",
            transposed ? std::vector<std::int64_t>{4, 6, 10} : std::vector<std::int64_t>{4, 10, 6});
  model.add(std::string(kTinyBlock) + "experts.down_proj",
            transposed ? std::vector<std::int64_t>{4, 5, 6} : std::vector<std::int64_t>{4, 6, 5});
  return model;
}

TEST(LoadBlock, OneTensorForEachMatrix) {
  const TempFolder folder;
  test::tiny_deepseek_v3().write(folder);
  const LoadedBlock block = load_block(folder.path(), 1);
  ASSERT_EQ(block.tensors.experts.size(), 4u);
  EXPECT_EQ(block.tensors.experts[2].gate.tensor.name, expert(2, "gate_proj"));
  EXPECT_EQ(block.tensors.experts[2].down.rows, 6);
  EXPECT_EQ(block.tensors.experts[2].down.cols, 5);
  ASSERT_EQ(block.tensors.shared.size(), 1u);
  EXPECT_EQ(block.tensors.shared[0].up.rows, 10);
  EXPECT_EQ(block.tensors.router.selection_bias.shape, std::vector<std::int64_t>{4});
}

TEST(LoadBlock, StackedExpertsAreSlices) {
  const TempFolder folder;
  stacked(test::tiny_qwen3_moe()).write(folder);
  const LoadedBlock block = load_block(folder.path(), 1);
  ASSERT_EQ(block.tensors.experts.size(), 4u);
  const ExpertTensors& last = block.tensors.experts[3];
  EXPECT_EQ(last.gate.offset, 3 * 60);
  EXPECT_EQ(last.up.offset, 3 * 60 + 30);
  EXPECT_EQ(last.up.rows, 5);
  EXPECT_EQ(last.down.offset, 3 * 30);
  ByteScratch scratch;
  const auto* values = static_cast<const float*>(last.up.read(scratch).data);
  // The file holds 54 floats of layer 0 and 120 of down_proj before gate_up_proj.
  const int first = 54 + 120 + 3 * 60 + 30;
  for (int i = 0; i < 30; ++i) EXPECT_EQ(values[i], 0.25f * static_cast<float>((first + i) % 7)) << i;
}

TEST(LoadBlock, TransposedStackIsNotTakenForAnother) {
  expect_error(stacked(test::tiny_qwen3_moe(), true),
               "'model.layers.1.mlp.experts.gate_up_proj' has shape [4, 6, 10], expected [4, 10, 6]");
}

TEST(LoadBlock, MissingTensors) {
  for (const char* name : {"gate_proj", "up_proj", "down_proj"}) {
    TinyModel model = test::tiny_qwen3_moe();
    model.tensors.erase(expert(2, name));
    expect_error(model, "no tensor '" + expert(2, name) + "'");
    expect_error(model, "the nearest name is 'model.layers.1.mlp.experts.");
  }
  TinyModel model = test::tiny_deepseek_v3();
  model.tensors.erase(std::string(kTinyBlock) + "gate.e_score_correction_bias");
  expect_error(model, "no tensor 'model.layers.1.mlp.gate.e_score_correction_bias' [4]");
  model = test::tiny_deepseek_v3();
  model.tensors.erase(std::string(kTinyBlock) + "shared_experts.up_proj.weight");
  expect_error(model, "no tensor 'model.layers.1.mlp.shared_experts.up_proj.weight' [10, 6]");
  model = test::tiny_qwen3_moe();
  model.tensors.erase(std::string(kTinyBlock) + "gate.weight");
  expect_error(model, "no tensor 'model.layers.1.mlp.gate.weight' [4, 6]");
}

TEST(LoadBlock, LayerWithoutAnyTensor) {
  TinyModel model = test::tiny_qwen3_moe();
  model.config["num_hidden_layers"] = 4;
  const TempFolder folder;
  model.write(folder);
  const std::string error = checkpoint_error_of([&] { load_block(folder.path(), 3); });
  EXPECT_NE(
      error.find("no tensor 'model.layers.3.mlp.gate.weight', the nearest name is 'model.layers.1.mlp.gate.weight'"),
      std::string::npos)
      << error;
}

TEST(LoadBlock, TensorsThatHaveNoPlace) {
  TinyModel model = test::tiny_qwen3_moe();
  model.add(expert(4, "gate_proj"), {5, 6});
  expect_error(model, "is of expert 4, config.json says 4 experts (0..3)");
  model = test::tiny_qwen3_moe();
  model.add(expert(1, "gate_proj") + "_scale_inv", {1, 1});
  expect_error(model, "unexpected tensor '" + expert(1, "gate_proj") +
                          "_scale_inv' [1, 1], the nearest expected name is '" + expert(1, "gate_proj") + "'");
  model = test::tiny_qwen3_moe();
  model.add(std::string(kTinyBlock) + "gate.e_score_correction_bias", {4});
  expect_error(model, "unexpected tensor 'model.layers.1.mlp.gate.e_score_correction_bias'");
  model = stacked(test::tiny_qwen3_moe());
  model.add(expert(0, "up_proj"), {5, 6});
  expect_error(model, "unexpected tensor '" + expert(0, "up_proj") + "'");
}

TEST(LoadBlock, TensorsOfOtherShapes) {
  TinyModel model = test::tiny_qwen3_moe();
  model.add(expert(3, "down_proj"), {5, 6});
  expect_error(model, "tensor '" + expert(3, "down_proj") + "' has shape [5, 6], expected [6, 5]");
  model = test::tiny_qwen3_moe();
  model.add(std::string(kTinyBlock) + "gate.weight", {5, 6});
  expect_error(model, "tensor 'model.layers.1.mlp.gate.weight' has shape [5, 6], expected [4, 6]");
  model = stacked(test::tiny_qwen3_moe());
  model.add(std::string(kTinyBlock) + "experts.gate_up_proj", {5, 10, 6});
  expect_error(model, "experts.gate_up_proj' has shape [5, 10, 6], expected [4, 10, 6]");
  model = test::tiny_deepseek_v3();
  model.config["n_shared_experts"] = 1;
  expect_error(model, "shared_experts.gate_proj.weight' has shape [10, 6], expected [5, 6]");
}

TEST(LoadBlock, ConfigThatClaimsMoreThanThereIs) {
  TinyModel model = test::tiny_qwen3_moe();
  model.config["num_experts"] = 1000000;
  model.add(std::string(kTinyBlock) + "gate.weight", {1000000, 0});
  expect_error(model, "has shape [1000000, 0], expected [1000000, 6]");
}

TEST(LoadBlock, DTypesThatAreNoWeights) {
  TinyModel model = test::tiny_qwen3_moe();
  model.add(expert(0, "up_proj"), {5, 6}, "F8_E5M2");
  expect_error(model, "has dtype float8_e5m2 and shape [5, 6], expected float32");
}

TEST(LoadBlock, TwoPrefixesAtOnce) {
  TinyModel model = test::tiny_qwen3_moe();
  model.add("layers.1.mlp.gate.weight", {4, 6});
  expect_error(model, "tensors under 'model.layers.1.mlp.' and under 'layers.1.mlp.'");
}

}  // namespace
}  // namespace moekit
