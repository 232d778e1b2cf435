// SPDX-License-Identifier: Apache-2.0
// Accounting of quantised layers: which tensors belong to a matrix, and what is wrong with them, told by name.
#include <gtest/gtest.h>

#include "models/expect_error.h"
#include "models/repeated_scale.h"
#include "models/scale_grid.h"
#include "moekit/model.h"
#include "moekit/quantised.h"

namespace moekit {
namespace {

using test::checkpoint_error_of;
using test::expect_error;
using test::kTinyBlock;
using test::load;
using test::TinyModel;

std::string module(int expert, const char* projection) {
  return kTinyBlock + ("experts." + std::to_string(expert)) + "." + projection;
}

/// Every expert matrix of the tiny model replaced: add(model, name of the module, rows, cols).
template <typename Add>
TinyModel quantised(const Add& add) {
  TinyModel model = test::tiny_qwen3_moe();
  for (int e = 0; e < 4; ++e)
    for (const char* name : {"gate_proj", "up_proj", "down_proj"}) {
      const bool down = std::string(name) == "down_proj";
      model.tensors.erase(module(e, name) + ".weight");
      add(model, module(e, name), down ? 6 : 5, down ? 5 : 6);
    }
  return model;
}

TinyModel fp8() {
  return quantised([](TinyModel& model, const std::string& name, std::int64_t rows, std::int64_t cols) {
    model.add(name + ".weight", {rows, cols}, "F8_E4M3");
    model.add(name + ".weight_scale_inv", {1, 1});
  });
}
TinyModel packed() {
  return quantised([](TinyModel& model, const std::string& name, std::int64_t rows, std::int64_t) {
    model.add(name + ".weight_packed", {rows, 1}, "I32");
    model.add(name + ".weight_scale", {rows, 1}, "BF16");
  });
}

TEST(QuantisedBlock, OneTensorForEachMatrix) {
  const LoadedBlock block = load(fp8());
  const MatrixRef& up = block.tensors.experts[3].up;
  ASSERT_NE(up.quant, nullptr);
  EXPECT_EQ(up.quant->codes.name, module(3, "up_proj") + ".weight");
  EXPECT_EQ(up.quant->scales.name, module(3, "up_proj") + ".weight_scale_inv");
  EXPECT_EQ(up.rows, 5);
  EXPECT_EQ(up.cols, 6);
  EXPECT_EQ(load(packed()).tensors.experts[0].down.quant->packing, Packing::kWordsAlongK);
}

TEST(QuantisedBlock, MissingTensors) {
  TinyModel model = fp8();
  model.tensors.erase(module(2, "down_proj") + ".weight_scale_inv");
  expect_error(model, "no tensor '" + module(2, "down_proj") + ".weight_scale_inv' (scales of '");
  model = fp8();
  model.tensors.erase(module(2, "down_proj") + ".weight");
  expect_error(model, "no tensor '" + module(2, "down_proj") + ".weight' [6, 5]");
  model = packed();
  model.tensors.erase(module(1, "up_proj") + ".weight_scale");
  expect_error(model, "no tensor '" + module(1, "up_proj") + ".weight_scale'");
  model = packed();
  model.tensors.erase(module(1, "up_proj") + ".weight_packed");
  model.add(module(1, "up_proj") + ".weight_shape", {2}, "I64");
  expect_error(model, "no tensor '" + module(1, "up_proj") + ".weight_packed'");
}

TEST(QuantisedBlock, TensorsThatHaveNoPlace) {
  TinyModel model = fp8();
  model.add(module(0, "up_proj") + ".weight_scale", {1, 1});
  expect_error(model, "unexpected tensor '" + module(0, "up_proj") + ".weight_scale'");
  model = fp8();
  model.add(module(0, "up_proj") + ".bias", {5});  // not all zero
  expect_error(model, "unexpected tensor '" + module(0, "up_proj") + ".bias'");
  model = test::tiny_qwen3_moe();
  model.add(module(0, "up_proj") + ".weight_scale_inv", {1, 1});
  expect_error(model, "unexpected tensor '" + module(0, "up_proj") + ".weight_scale_inv'");
  model = test::tiny_qwen3_moe();
  model.add(kTinyBlock + std::string("experts.down_proj_scale_inv"), {4, 1, 1});
  expect_error(model, "unexpected tensor 'model.layers.1.mlp.experts.down_proj_scale_inv'");
}

TEST(QuantisedBlock, TensorsOfOtherShapesAndDTypes) {
  TinyModel model = fp8();
  model.add(module(3, "gate_proj") + ".weight", {6, 5}, "F8_E4M3");
  expect_error(model, "'" + module(3, "gate_proj") + ".weight' has shape [6, 5], expected [5, 6]");
  for (const std::vector<std::int64_t>& shape :
       {std::vector<std::int64_t>{2, 1}, {1, 2}, {6, 1}, {5, 7}, {0}, {1, 1, 1}}) {
    model = fp8();
    model.add(module(3, "gate_proj") + ".weight_scale_inv", shape);
    expect_error(model, "'" + module(3, "gate_proj") + ".weight_scale_inv' has shape [");
  }
  model = fp8();
  model.add(module(3, "gate_proj") + ".weight_scale_inv", {1, 1}, "I32");
  expect_error(model, "weight_scale_inv' has dtype int32, expected float32");
  model = packed();
  model.add(module(1, "up_proj") + ".weight_packed", {5, 3}, "I32");
  expect_error(model, "'" + module(1, "up_proj") + ".weight_packed' has shape [5, 3], expected 1 words of 4 bit codes");
  model = packed();
  model.add(module(1, "up_proj") + ".weight_packed", {4, 1}, "I32");
  expect_error(model, module(1, "up_proj") + ".weight_packed: shape [4, 1], expected [5, 1]");
  model = packed();
  model.add(module(1, "up_proj") + ".weight_scale", {5, 4}, "BF16");
  expect_error(model, module(1, "up_proj") + ".weight_scale' has shape [5, 4], expected groups of equal sizes");
  model = packed();
  model.add(module(1, "up_proj") + ".weight_zero_point", {5, 1}, "I8");
  expect_error(model, module(1, "up_proj") + ".weight_zero_point: dtype int8, expected int32");
}

TEST(QuantisedBlock, PublishedBlocksMustFit) {
  TinyModel model = fp8();
  model.config["quantization_config"] = {{"quant_method", "fp8"}, {"weight_block_size", {4, 4}}};
  expect_error(model,
               "weight_scale_inv' has shape [1, 1], expected scales of a row, of the tensor, in blocks of 4 x 4");
}

TEST(QuantisedBlock, ExpertsOfAProjectionAreInOneFormat) {
  TinyModel model = fp8();
  model.add(module(2, "up_proj") + ".weight", {5, 6}, "BF16");
  model.tensors.erase(module(2, "up_proj") + ".weight_scale_inv");
  const LoadedBlock block = load(model);
  const std::string error = checkpoint_error_of([&] { inspect_weights(block); });
  EXPECT_NE(error.find(module(2, "up_proj") + ".weight is bfloat16"), std::string::npos) << error;
}

TEST(QuantisedBlock, GptqNeedsItsVersion) {
  const TinyModel model = quantised([](TinyModel& each, const std::string& name, std::int64_t rows, std::int64_t) {
    each.add(name + ".qweight", {1, rows}, "I32");
    each.add(name + ".qzeros", {1, 1}, "I32");
    each.add(name + ".scales", {1, rows}, "F16");
  });
  expect_error(model, ".qweight' is of GPTQ, whose versions store zero points differently");
}

TEST(ScaleGrid, BlocksAreToldByShape) {
  Quantisation published;
  const auto block = [&](std::int64_t rows, std::int64_t cols, ScaleGrid grid, bool exponents = false) {
    const auto found = block_of_grid(rows, cols, grid, published, exponents);
    return found ? std::to_string(found->rows) + "x" + std::to_string(found->cols) : "none";
  };
  EXPECT_EQ(block(300, 200, {3, 2}), "128x128");
  EXPECT_EQ(block(300, 200, {300, 1}), "1x0");
  EXPECT_EQ(block(300, 200, {1, 1}), "none");
  EXPECT_EQ(block(300, 200, {5, 4}), "64x64");
  EXPECT_EQ(block(300, 200, {300, 7}, true), "1x32");
  EXPECT_EQ(block(300, 200, {3, 3}), "none");
  published.blocks = {{128, 128}};
  EXPECT_EQ(block(300, 200, {5, 4}), "none");  // published sizes bind
  EXPECT_EQ(block(100, 100, {1, 1}), "128x128");
  EXPECT_EQ(block(300, 200, {300, 7}, true), "1x32");
  published.blocks = {{1, 32}};
  EXPECT_EQ(block(300, 200, {300, 7}, true), "1x32");
}

TEST(ScaleGrid, Shapes) {
  const auto grid = [](const std::vector<std::int64_t>& shape, std::int64_t count) {
    const auto found = grid_of_shape(shape, count);
    return found ? std::to_string(found->rows) + "x" + std::to_string(found->cols) : "none";
  };
  EXPECT_EQ(grid({}, 0), "1x1");
  EXPECT_EQ(grid({7}, 0), "7x1");
  EXPECT_EQ(grid({7, 1, 3, 1}, 0), "7x3");
  EXPECT_EQ(grid({7, 3, 2}, 0), "none");
  EXPECT_EQ(grid({4}, 4), "1x1");
  EXPECT_EQ(grid({4, 7, 3}, 4), "7x3");
  EXPECT_EQ(grid({5, 7, 3}, 4), "none");
  EXPECT_EQ(grid({}, 4), "none");
}

TEST(RepeatedScale, EveryRangeHasItsMatrix) {
  const float values[] = {1.0f, 2.0f, 3.0f};
  const TensorRef rows = repeated_rows(memory_tensor("s", values, DType::kFloat32, {3}), 3, 5);
  EXPECT_EQ(rows.shape, (std::vector<std::int64_t>{3, 5}));
  ByteScratch scratch;
  for (std::size_t first = 0; first < 15; ++first)
    for (std::size_t count = 1; first + count <= 15; ++count) {
      const std::byte* read = rows.storage->read(rows.offset + first * 4, count * 4, scratch);
      for (std::size_t i = 0; i < count; ++i) {
        float value;
        std::memcpy(&value, read + i * 4, 4);
        EXPECT_EQ(value, values[(first + i) / 5]) << first << " " << count;
      }
    }
}

}  // namespace
}  // namespace moekit
