// SPDX-License-Identifier: Apache-2.0
// Model families: config.json to a block's configuration, and tensor names to a block's tensors.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "moekit/checkpoint.h"
#include "moekit/layer.h"

namespace moekit {

/// What a checkpoint says about its mixture-of-experts layers.
struct ModelInfo {
  std::string family;                    // "qwen3_moe"
  std::int64_t num_layers = 0;           // decoder layers
  std::vector<std::int64_t> moe_layers;  // indices of those with experts
  std::vector<std::string> expert_sets;  // names; empty when a block has one, without a name
};

/// Reads config.json of a checkpoint folder, or the key-value pairs of a GGUF file. Throws CheckpointError for a family
/// that is not known (listing those that are) and for a field that changes the routing and is not understood.
ModelInfo inspect_model(const std::string& path);

/// Configuration of one layer's block without its weights.
///
/// Here and below, `experts` names one of the checkpoint's expert sets, where blocks keep several apart (ERNIE 4.5 VL:
/// "text_moe", "vision_moe") and the caller knows which set a token goes to; "" is the first of them. Shared experts
/// are part of the block of every set. A name that the checkpoint does not have is a CheckpointError that lists the
/// sets.
BlockConfig block_config(const std::string& path, std::int64_t layer, const std::string& experts = {});

/// Configuration and tensors of one layer. Every expert tensor of the layer is accounted for: a missing, extra or
/// differently shaped one is a CheckpointError that names it.
struct LoadedBlock {
  BlockConfig config;
  BlockTensors tensors;
};
LoadedBlock load_block(const std::string& path, std::int64_t layer, const std::string& experts = {});
/// The same of a checkpoint that is open: for several of its layers.
LoadedBlock load_block(const Checkpoint& checkpoint, std::int64_t layer, const std::string& experts = {});

/// How the weights of a block's experts lie in its checkpoint.
struct WeightsInfo {
  struct Part {
    std::string name;              // "gate", "up", "down", "shared gate", ...
    std::string format;            // describe() of a quantised format, the name of the dtype of plain elements
    double bits_per_weight = 0.0;  // with scales and what else belongs to it
  };
  std::string dtype;              // short names of the formats, "int4, bfloat16"
  std::vector<Part> parts;        // those that the block has
  std::int64_t expert_bytes = 0;  // of the first routed expert
  std::int64_t routed_bytes = 0, shared_bytes = 0;
  double bits_per_weight = 0.0;    // over all
  std::vector<std::string> notes;  // what the checkpoint says of its weights, and what of it is not done here
};
/// Reads no weights. Throws CheckpointError when the experts of a projection are in different formats.
WeightsInfo inspect_weights(const LoadedBlock& block);

/// load_block and MoeLayer in one: the usual way in.
MoeLayer load_layer(const std::string& path, std::int64_t layer, const LayerOptions& options = {},
                    const std::string& experts = {});

/// Names of the families, sorted.
std::vector<std::string_view> model_families();

}  // namespace moekit
