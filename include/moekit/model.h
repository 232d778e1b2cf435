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
  std::string family;                  // "qwen3_moe"
  std::int64_t num_layers = 0;         // decoder layers
  std::vector<std::int64_t> moe_layers;  // indices of those with experts
};

/// Reads config.json of a checkpoint folder, or the key-value pairs of a GGUF file. Throws CheckpointError for a family that is not known (listing those that
/// are) and for a field that changes the routing and is not understood.
ModelInfo inspect_model(const std::string& path);

/// Configuration of one layer's block without its weights.
BlockConfig block_config(const std::string& path, std::int64_t layer);

/// Configuration and tensors of one layer. Every expert tensor of the layer is accounted for: a missing, extra or
/// differently shaped one is a CheckpointError that names it.
struct LoadedBlock {
  BlockConfig config;
  BlockTensors tensors;
};
LoadedBlock load_block(const std::string& path, std::int64_t layer);

/// load_block and MoeLayer in one: the usual way in.
MoeLayer load_layer(const std::string& path, std::int64_t layer, const LayerOptions& options = {});

/// Names of the families, sorted.
std::vector<std::string_view> model_families();

}  // namespace moekit
