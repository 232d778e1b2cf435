// SPDX-License-Identifier: Apache-2.0
// Blocks with two expert sets: which tensors belong to which, in layouts with a folder for each set and without.
#include <gtest/gtest.h>

#include "models/tiny_model.h"
#include "moekit/model.h"

namespace moekit {
namespace {

using test::checkpoint_error_of;
using test::TempFolder;
using test::TinyModel;

using test::tiny_ernie_vl;

constexpr const char* kBlock = "model.layers.0.mlp.";

LoadedBlock load(const TinyModel& model, const std::string& set) {
  const TempFolder folder;
  model.write(folder);
  return load_block(folder.path(), 0, set);
}

TEST(ExpertSets, AFolderForEachSet) {
  const LoadedBlock text = load(tiny_ernie_vl(true), ""), vision = load(tiny_ernie_vl(true), "vision_moe");
  EXPECT_EQ(text.config.expert.intermediate, 5);
  EXPECT_EQ(vision.config.expert.intermediate, 2);
  EXPECT_EQ(text.tensors.experts[1].up.tensor.name, std::string(kBlock) + "text_moe.experts.1.up_proj.weight");
  EXPECT_EQ(vision.tensors.experts[1].up.tensor.name, std::string(kBlock) + "vision_moe.experts.1.up_proj.weight");
  EXPECT_EQ(vision.tensors.router.weight.name, std::string(kBlock) + "vision_moe.gate.weight");
  for (const LoadedBlock& block : {text, vision}) {
    EXPECT_EQ(block.config.shared.expert.intermediate, 5);
    EXPECT_EQ(block.tensors.shared[0].up.tensor.name, std::string(kBlock) + "shared_experts.up_proj.weight");
  }
}

TEST(ExpertSets, OneListForAllSets) {
  const TinyModel model = tiny_ernie_vl(false);
  const TempFolder folder;
  model.write(folder);
  const Checkpoint checkpoint = Checkpoint::open(folder.path());
  const std::vector<float> bias =
      read_float32(checkpoint.tensor(std::string(kBlock) + "moe_statics.e_score_correction_bias"));
  const char* routers[] = {"gate.weight", "gate.weight_1"};
  const char* names[] = {"text_moe", "vision_moe"};
  for (std::size_t set = 0; set < 2; ++set) {
    const LoadedBlock block = load_block(checkpoint, 0, names[set]);
    EXPECT_EQ(block.tensors.experts[1].down.tensor.name,
              kBlock + ("experts." + std::to_string(1 + 3 * set)) + ".down_proj.weight");
    EXPECT_EQ(
        read_float32(block.tensors.router.selection_bias),
        std::vector<float>(bias.begin() + static_cast<long>(3 * set), bias.begin() + static_cast<long>(3 * set + 3)));
    const std::vector<float> stored = read_float32(checkpoint.tensor(std::string(kBlock) + routers[set]));
    const std::vector<float> router = read_float32(block.tensors.router.weight);
    ASSERT_EQ(block.tensors.router.weight.shape, (std::vector<std::int64_t>{3, 4}));
    for (std::size_t e = 0; e < 3; ++e)
      for (std::size_t h = 0; h < 4; ++h) EXPECT_EQ(router[e * 4 + h], stored[h * 3 + e]) << e << ", " << h;
  }
}

TEST(ExpertSets, TensorsOfTheOtherSetAreAccountedFor) {
  for (const bool folders : {true, false})
    for (const char* set : {"text_moe", "vision_moe"}) {
      for (const auto& [name, tensor] : tiny_ernie_vl(folders).tensors) {
        TinyModel model = tiny_ernie_vl(folders);
        model.tensors.erase(name);
        const std::string error = checkpoint_error_of([&] { load(model, set); });
        EXPECT_NE(error.find("no tensor '" + name + "'"), std::string::npos) << error;
      }
      TinyModel model = tiny_ernie_vl(folders);
      model.add(std::string(kBlock) + "experts.6.up_proj.weight", {2, 4});
      const std::string error = checkpoint_error_of([&] { load(model, set); });
      EXPECT_NE(error.find("experts.6.up_proj.weight' is of expert 6, config.json says 6 experts"), std::string::npos)
          << error;
    }
}

TEST(ExpertSets, UnknownNamesAreToldTheKnownOnes) {
  const auto error = [](const TinyModel& model, std::int64_t layer, const std::string& set) {
    const TempFolder folder;
    model.write(folder);
    return checkpoint_error_of([&] { load_block(folder.path(), layer, set); });
  };
  EXPECT_NE(error(tiny_ernie_vl(false), 0, "text")
                .find("no expert set 'text': family ernie4_5_vl_moe has text_moe, vision_moe"),
            std::string::npos);
  EXPECT_NE(error(test::tiny_qwen3_moe(), 1, "text_moe").find("family qwen3_moe has one, which has no name"),
            std::string::npos);
}

TEST(ExpertSets, SizesOfSets) {
  TinyModel model = tiny_ernie_vl(false);
  model.config["moe_intermediate_size"] = {5, 2, 2};
  EXPECT_NE(checkpoint_error_of([&] { load(model, ""); }).find("expected one for each of 2 expert sets"),
            std::string::npos);
  model.config["moe_intermediate_size"] = {5, 0};
  EXPECT_NE(checkpoint_error_of([&] { load(model, ""); }).find("expected an integer from 1"), std::string::npos);
}

}  // namespace
}  // namespace moekit
