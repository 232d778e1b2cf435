// SPDX-License-Identifier: Apache-2.0
// A checkpoint and a layer's index to the block's configuration and tensors.
#include <algorithm>
#include <memory>

#include "checkpoint/file.h"
#include "checkpoint/gguf_file.h"
#include "checkpoint/text.h"
#include "formats/read.h"
#include "models/accounting.h"
#include "models/converted.h"
#include "models/expert_tensors.h"
#include "models/family.h"
#include "models/gguf.h"
#include "models/quantisation.h"
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
  return {std::move(config), std::move(family), false};
}

BlockConfig read_layer(Model& model, std::int64_t layer) {
  const std::vector<std::int64_t> layers = moe_layers(model.family, model.config);
  if (!std::binary_search(layers.begin(), layers.end(), layer)) {
    const std::int64_t count = count_layers(model.family, model.config);
    model.config.fail("layer " + std::to_string(layer) +
                      (layer < 0 || layer >= count ? " of " + std::to_string(count) : " is dense") +
                      "; layers with experts are " + shape_text(layers));
  }
  BlockConfig block = read_block_config(model.family, model.config, layer);
  try {
    validate(block);
  } catch (const std::invalid_argument& error) {
    model.config.fail(error.what());
  }
  return block;
}

TensorRef take_in_scale(const Family& family, std::int64_t hidden, Accounting& tensors) {
  const char* why = "hidden size of the configuration";
  const TensorRef scale = tensors.take(family.in_scale, {hidden}, why);
  if (family.in_scale_divisor == nullptr) return scale;
  const TensorRef divisor = tensors.take(family.in_scale_divisor, {hidden}, why);
  auto quotient = std::make_shared<std::vector<float>>(read_float32(scale));
  const std::vector<float> below = read_float32(divisor);
  for (std::size_t i = 0; i < quotient->size(); ++i) {
    if (below[i] == 0.0f)
      tensors.fail("element " + std::to_string(i) + " of tensor " + in_quotes(divisor.name) +
                   " is 0, and the router's input is divided by it");
    (*quotient)[i] /= below[i];
  }
  return memory_tensor(scale.name, quotient->data(), DType::kFloat32, {hidden}, quotient);
}

/// A bias that chooses the last `joint` columns before all others: 2^100 is beyond what any score and bias add up to.
TensorRef with_joint_columns(const TensorRef& bias, std::int64_t joint) {
  auto values = std::make_shared<std::vector<float>>(read_float32(bias));
  values->insert(values->end(), static_cast<std::size_t>(joint), 0x1p100f);
  const auto columns = static_cast<std::int64_t>(values->size());
  return memory_tensor(bias.name, values->data(), DType::kFloat32, {columns}, values);
}

/// One factor of all weights as that of each column.
TensorRef for_columns(const TensorRef& factor, std::int64_t columns) {
  auto values = std::make_shared<std::vector<float>>(static_cast<std::size_t>(columns), read_float32(factor).front());
  return memory_tensor(factor.name, values->data(), DType::kFloat32, {columns}, values);
}

/// Columns of the router that are Family::joint_shared.
std::int64_t joint_columns(const Family& family, const Config& config) {
  return family.joint_shared ? config.integer(family.shared_count, 0) : 0;
}

RouterTensors take_router(const Family& family, const Config& config, const BlockConfig& block, Accounting& tensors) {
  const std::int64_t columns = block.router.columns();
  RouterTensors router;
  router.weight = decoded(tensors.take(family.router_weight, {columns, block.expert.input},
                                       "experts and hidden size of the configuration"));
  if (!family.router_bias.empty())
    router.bias = tensors.take(family.router_bias, {columns}, "experts of the configuration");
  if (!family.in_scale.empty()) router.in_scale = take_in_scale(family, block.expert.input, tensors);
  if (!family.per_expert_scale.empty())
    router.per_expert_scale = tensors.take(family.per_expert_scale, {columns}, "experts of the configuration");
  if (!family.weight_scale.empty())
    router.per_expert_scale = for_columns(tensors.take(family.weight_scale, {1}, "one factor of all weights"), columns);
  if (block.router.source == RouterSource::kHashTable) {  // the table chooses: no bias for selection
    const std::int64_t vocabulary = config.integer(family.vocabulary, 1);
    router.tid2eid = tensors.take_integers(family.hash_table, {vocabulary, block.router.top_k}, "vocabulary, top_k");
    return router;
  }
  if (!family.selection_bias.empty() && config.boolean(family.has_selection_bias)) {
    const bool row = tensors.shape(tensors.find(family.selection_bias)).size() == 2;  // [1, E] in ERNIE
    const std::int64_t joint = joint_columns(family, config), routed = columns - joint;
    router.selection_bias = tensors.take(family.selection_bias,
                                         row ? std::vector<std::int64_t>{1, routed} : std::vector<std::int64_t>{routed},
                                         "experts of the configuration");
    router.selection_bias.shape = {routed};
    if (joint > 0) router.selection_bias = with_joint_columns(router.selection_bias, joint);
  }
  return router;
}

MatrixRef take_shared_gate(const Family& family, std::int64_t hidden, Accounting& tensors) {
  const bool vector = tensors.shape(tensors.find(family.shared_gate_weight)).size() == 1;  // [H] in GGUF
  const std::vector<std::int64_t> shape =
      vector ? std::vector<std::int64_t>{hidden} : std::vector<std::int64_t>{1, hidden};
  TensorRef gate = decoded(tensors.take(family.shared_gate_weight, shape, "1, hidden size"));
  gate.shape = {1, hidden};
  return matrix_of(gate);
}

/// The block of a layer whose configuration has been read.
LoadedBlock take_block(const Model& model, const BlockConfig& config, const Checkpoint& checkpoint,
                       std::int64_t layer) {
  const Family& family = model.family;
  LoadedBlock loaded;
  loaded.config = config;
  Accounting tensors(checkpoint, family, layer);
  loaded.tensors.router = take_router(family, model.config, loaded.config, tensors);
  // Blocks of a GGUF file say what they are; files beside it are of other checkpoints.
  const Quantisation quantisation = model.gguf ? Quantisation() : read_quantisation(model.config);
  const std::int64_t joint = joint_columns(family, model.config);
  loaded.tensors.experts = joint > 0 ? take_joint_experts(family, loaded.config, joint, quantisation, tensors)
                                     : take_experts(family, loaded.config, quantisation, tensors);
  loaded.tensors.shared = take_shared(family, loaded.config, quantisation, tensors);
  if (loaded.config.shared.count > 0 && loaded.config.shared.gate == SharedGate::kSigmoid)
    loaded.tensors.shared_gate = take_shared_gate(family, loaded.config.expert.input, tensors);
  tensors.finish(loaded.config.router.num_experts, loaded.config.router.columns());
  validate(loaded.config, loaded.tensors);
  loaded.tensors.notes = quantisation.notes;
  for (const std::string& what : tensors.unused()) loaded.tensors.notes.push_back("not used: " + what);
  return loaded;
}

}  // namespace

ModelInfo inspect_model(const std::string& path) {
  if (is_converted(path)) return inspect_converted(path);
  Model model = read_model(path);
  ModelInfo info = {model.family.name, count_layers(model.family, model.config),
                    moe_layers(model.family, model.config)};
  // Fields that are not understood are told here already.
  read_block_config(model.family, model.config, info.moe_layers.empty() ? 0 : info.moe_layers.front());
  return info;
}

BlockConfig block_config(const std::string& path, std::int64_t layer) {
  if (is_converted(path)) return converted_config(path, layer);
  Model model = read_model(path);
  return read_layer(model, layer);
}

LoadedBlock load_block(const std::string& path, std::int64_t layer) {
  if (is_converted(path)) return load_converted(path, layer);
  Model model = read_model(path);
  const BlockConfig config = read_layer(model, layer);  // what it does not allow is told before files are opened
  return take_block(model, config, Checkpoint::open(path), layer);
}

LoadedBlock load_block(const Checkpoint& checkpoint, std::int64_t layer) {
  Model model = read_model(checkpoint.path());
  const BlockConfig config = read_layer(model, layer);
  return take_block(model, config, checkpoint, layer);
}

}  // namespace moekit
