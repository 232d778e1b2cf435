// SPDX-License-Identifier: Apache-2.0
// A checkpoint and a layer's index to the block's configuration and tensors.
#include <algorithm>

#include "checkpoint/file.h"
#include "checkpoint/gguf_file.h"
#include "checkpoint/text.h"
#include "formats/read.h"
#include "models/accounting.h"
#include "models/converted.h"
#include "models/expert_sets.h"
#include "models/expert_tensors.h"
#include "models/family.h"
#include "models/gguf.h"
#include "models/quantisation.h"
#include "models/router_tensors.h"
#include "moekit/model.h"

namespace moekit {
namespace {

struct Model {
  Config config;
  Family family;
  bool gguf = false;
};

/// config.json of the folder, or beside the file; or what a GGUF file says itself.
Model read_model(const std::string& path) {
  if (is_gguf(path)) {
    GgufFamily gguf = read_gguf_family(path);
    return {std::move(gguf.config), std::move(gguf.family), true};
  }
  Config config = Config::read(checkpoint_folder(path));
  Family family = find_family(config);
  check_set_layers(family, config);
  return {std::move(config), std::move(family), false};
}

/// The block of a layer as each of the family's expert sets has it, and which of them is asked for.
struct LayerConfig {
  std::vector<BlockConfig> sets;
  std::size_t wanted = 0;
};

LayerConfig read_layer(Model& model, std::int64_t layer, const std::string& experts) {
  LayerConfig result;
  result.wanted = find_set(model.family, experts, model.config);
  const std::vector<std::int64_t> layers = moe_layers(model.family, model.config);
  if (!std::binary_search(layers.begin(), layers.end(), layer)) {
    const std::int64_t count = count_layers(model.family, model.config);
    model.config.fail("layer " + std::to_string(layer) +
                      (layer < 0 || layer >= count ? " of " + std::to_string(count) : " is dense") +
                      "; layers with experts are " + shape_text(layers));
  }
  for (std::size_t set = 0; set < std::max<std::size_t>(model.family.sets.size(), 1); ++set) {
    result.sets.push_back(read_block_config(model.family, model.config, layer, set));
    try {
      validate(result.sets.back());
    } catch (const std::invalid_argument& error) {
      model.config.fail(error.what());
    }
  }
  return result;
}

MatrixRef take_shared_gate(const Family& family, std::int64_t hidden, Accounting& tensors) {
  const bool vector = tensors.shape(tensors.find(family.shared_gate_weight)).size() == 1;  // [H] in GGUF
  const std::vector<std::int64_t> shape =
      vector ? std::vector<std::int64_t>{hidden} : std::vector<std::int64_t>{1, hidden};
  TensorRef gate = decoded(tensors.take(family.shared_gate_weight, shape, "1, hidden size"));
  gate.shape = {1, hidden};
  return matrix_of(gate);
}

/// Router and experts of a block, or of one of its sets.
LoadedBlock take_routed(const Family& family, const Config& config, const BlockConfig& block,
                        const Quantisation& quantisation, Accounting& tensors) {
  LoadedBlock loaded;
  loaded.config = block;
  loaded.tensors.router = take_router(family, config, block, tensors);
  const std::int64_t joint = joint_columns(family, config);
  loaded.tensors.experts = joint > 0 ? take_joint_experts(family, block, joint, quantisation, tensors)
                                     : take_experts(family, block, quantisation, tensors);
  return loaded;
}

/// The block of a layer whose configuration has been read. All its sets are taken, so that each tensor has its place.
LoadedBlock take_block(const Model& model, const LayerConfig& config, const Checkpoint& checkpoint,
                       std::int64_t layer) {
  const Family& family = model.family;
  Accounting tensors(checkpoint, family, layer);
  // Blocks of a GGUF file say what they are; files beside it are of other checkpoints.
  const Quantisation quantisation = model.gguf ? Quantisation() : read_quantisation(model.config);
  LoadedBlock loaded;
  std::int64_t experts = 0;
  for (std::size_t set = 0; set < config.sets.size(); ++set) {
    const Family named = enter_set(family, set, experts, tensors);
    LoadedBlock routed = take_routed(named, model.config, config.sets[set], quantisation, tensors);
    if (set == config.wanted) loaded = std::move(routed);
    experts += config.sets[set].router.num_experts;
  }
  tensors.enter("");
  loaded.tensors.shared = take_shared(family, loaded.config, quantisation, tensors);
  if (loaded.config.shared.count > 0 && loaded.config.shared.gate == SharedGate::kSigmoid)
    loaded.tensors.shared_gate = take_shared_gate(family, loaded.config.expert.input, tensors);
  tensors.finish(experts, experts + loaded.config.router.num_identity);
  validate(loaded.config, loaded.tensors);
  loaded.tensors.notes = quantisation.notes;
  for (const std::string& what : tensors.unused()) loaded.tensors.notes.push_back("not used: " + what);
  return loaded;
}

}  // namespace

ModelInfo inspect_model(const std::string& path) {
  if (is_converted(path)) return inspect_converted(path);
  Model model = read_model(path);
  ModelInfo info = {
      model.family.name, count_layers(model.family, model.config), moe_layers(model.family, model.config), {}};
  for (const ExpertSet& set : model.family.sets) info.expert_sets.emplace_back(set.name);
  // Fields that are not understood are told here already.
  read_block_config(model.family, model.config, info.moe_layers.empty() ? 0 : info.moe_layers.front());
  return info;
}

BlockConfig block_config(const std::string& path, std::int64_t layer, const std::string& experts) {
  if (is_converted(path)) return converted_config(path, layer, experts);
  Model model = read_model(path);
  const LayerConfig config = read_layer(model, layer, experts);
  return config.sets[config.wanted];
}

LoadedBlock load_block(const std::string& path, std::int64_t layer, const std::string& experts) {
  if (is_converted(path)) return load_converted(path, layer, experts);
  Model model = read_model(path);
  const LayerConfig config =
      read_layer(model, layer, experts);  // what it does not allow is told before files are opened
  return take_block(model, config, Checkpoint::open(path), layer);
}

LoadedBlock load_block(const Checkpoint& checkpoint, std::int64_t layer, const std::string& experts) {
  Model model = read_model(checkpoint.path());
  const LayerConfig config = read_layer(model, layer, experts);
  return take_block(model, config, checkpoint, layer);
}

}  // namespace moekit
