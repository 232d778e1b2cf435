// SPDX-License-Identifier: Apache-2.0
// Checkpoints of one MoE layer, made in a folder: config.json as JSON, tensors by name and shape.
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include <nlohmann/json.hpp>

#include "checkpoint/files.h"

namespace moekit::test {

struct TinyTensor {
  std::string dtype;
  std::vector<std::int64_t> shape;
};

/// A model that can be spoilt before it is written.
struct TinyModel {
  nlohmann::json config;
  std::map<std::string, TinyTensor> tensors;

  void add(const std::string& name, std::vector<std::int64_t> shape, const std::string& dtype = "F32") {
    tensors[name] = {dtype, std::move(shape)};
  }
  /// Writes config.json and model.safetensors; element i of the data is 0.25 * (i % 7) as float32.
  void write(const TempFolder& folder) const {
    folder.write("config.json", config.dump());
    nlohmann::json header = nlohmann::json::object();
    std::size_t at = 0;
    for (const auto& [name, tensor] : tensors) {
      const std::map<std::string, std::size_t> sizes = {{"F32", 4}, {"I32", 4}, {"BF16", 2}, {"F16", 2}, {"I64", 8}};
      std::size_t bytes = sizes.count(tensor.dtype) != 0 ? sizes.at(tensor.dtype) : 1;
      for (const std::int64_t extent : tensor.shape) bytes *= static_cast<std::size_t>(extent);
      header[name] = {{"dtype", tensor.dtype}, {"shape", tensor.shape}, {"data_offsets", {at, at + bytes}}};
      at += bytes;
    }
    std::string data;
    for (std::size_t i = 0; i * 4 < at; ++i) {
      const float value = 0.25f * static_cast<float>(i % 7);
      data.append(reinterpret_cast<const char*>(&value), 4);
    }
    data.resize(at);
    folder.write("model.safetensors", safetensors_bytes(header.dump(), data));
  }
};

/// Where the experts of the first two models lie.
constexpr const char* kTinyBlock = "model.layers.1.mlp.";

/// qwen3_moe: 4 experts, hidden 6, intermediate 5, layers 0 (dense) and 1 (experts).
inline TinyModel tiny_qwen3_moe() {
  TinyModel model;
  model.config = {{"model_type", "qwen3_moe"},
                  {"hidden_size", 6},
                  {"num_hidden_layers", 2},
                  {"moe_intermediate_size", 5},
                  {"num_experts", 4},
                  {"num_experts_per_tok", 2},
                  {"norm_topk_prob", true},
                  {"decoder_sparse_step", 2},
                  {"mlp_only_layers", nlohmann::json::array()},
                  {"hidden_act", "silu"},
                  {"output_router_logits", false},
                  {"router_aux_loss_coef", 0.001}};
  model.add("model.layers.0.mlp.gate_proj.weight", {9, 6});
  model.add("model.layers.1.mlp.gate.weight", {4, 6});
  for (int e = 0; e < 4; ++e) {
    const std::string expert = "model.layers.1.mlp.experts." + std::to_string(e);
    model.add(expert + ".gate_proj.weight", {5, 6});
    model.add(expert + ".up_proj.weight", {5, 6});
    model.add(expert + ".down_proj.weight", {6, 5});
  }
  return model;
}

/// deepseek_v3: 4 experts in 2 groups, hidden 6, intermediate 5, a shared expert of 10, layer 0 dense, layer 1 experts.
inline TinyModel tiny_deepseek_v3() {
  TinyModel model = tiny_qwen3_moe();
  model.config = {{"model_type", "deepseek_v3"},
                  {"hidden_size", 6},
                  {"num_hidden_layers", 2},
                  {"moe_intermediate_size", 5},
                  {"n_routed_experts", 4},
                  {"num_experts_per_tok", 2},
                  {"n_shared_experts", 2},
                  {"n_group", 2},
                  {"topk_group", 1},
                  {"first_k_dense_replace", 1},
                  {"routed_scaling_factor", 1.5},
                  {"norm_topk_prob", true},
                  {"scoring_func", "sigmoid"},
                  {"topk_method", "noaux_tc"},
                  {"moe_layer_freq", 1}};
  const std::string block = "model.layers.1.mlp.";
  model.add(block + "gate.e_score_correction_bias", {4});
  model.add(block + "shared_experts.gate_proj.weight", {10, 6});
  model.add(block + "shared_experts.up_proj.weight", {10, 6});
  model.add(block + "shared_experts.down_proj.weight", {6, 10});
  return model;
}

/// ernie4_5_vl_moe: 3 experts a set of 5 and 2, hidden 4, shared experts of 5, one layer; with a folder for each set or
/// with one list of experts.
inline TinyModel tiny_ernie_vl(bool folders) {
  const std::string block = "model.layers.0.mlp.";
  TinyModel model;
  model.config = {{"model_type", "ernie4_5_vl_moe"},
                  {"hidden_size", 4},
                  {"num_hidden_layers", 1},
                  {"mlp_layer_types", {"sparse"}},
                  {"moe_num_experts", 3},
                  {"moe_k", 2},
                  {"moe_intermediate_size", {5, 2}},
                  {"moe_num_shared_experts", 1},
                  {"hidden_act", "silu"}};
  const auto add_expert = [&](const std::string& name, std::int64_t inner) {
    model.add(block + name + ".gate_proj.weight", {inner, 4});
    model.add(block + name + ".up_proj.weight", {inner, 4});
    model.add(block + name + ".down_proj.weight", {4, inner});
  };
  add_expert("shared_experts", 5);
  for (int e = 0; e < 6; ++e) {
    const std::string set = e < 3 ? "text_moe." : "vision_moe.";
    add_expert(folders ? set + "experts." + std::to_string(e % 3) : "experts." + std::to_string(e), e < 3 ? 5 : 2);
  }
  if (folders) {
    for (const std::string set : {"text_moe.", "vision_moe."}) {
      model.add(block + set + "gate.weight", {3, 4});
      model.add(block + set + "gate.moe_statics.e_score_correction_bias", {1, 3});
    }
  } else {
    model.add(block + "gate.weight", {4, 3});
    model.add(block + "gate.weight_1", {4, 3});
    model.add(block + "moe_statics.e_score_correction_bias", {2, 3});
  }
  return model;
}

}  // namespace moekit::test
