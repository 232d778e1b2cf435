// SPDX-License-Identifier: Apache-2.0
// compressed-tensors: groups of modules, each with its own scheme. Which module is in which group is told by the
// tensors; all schemes must be understood.
#include "models/quantisation_section.h"

namespace moekit {
namespace {

constexpr const char* kFormats[] = {"pack-quantized",  "float-quantized",      "int-quantized",
                                    "naive-quantized", "nvfp4-pack-quantized", "mxfp4-pack-quantized",
                                    "mxfp8-quantized", "mixed-precision",      "dense"};

void check_format(const QuantSection& section) {
  section.choice({"format"}, std::vector<const char*>(std::begin(kFormats), std::end(kFormats)));
}

void read_weights(const QuantSection& weights, Quantisation& out) {
  const std::string type = weights.choice({"type"}, {"int", "float"});
  weights.known_integer({"num_bits"}, {4, 8});
  weights.choice({"strategy"}, {"tensor", "channel", "group", "block", "tensor_group"});
  const std::int64_t group = weights.integer({"group_size"}, -1, -1);
  if (group > 0) out.groups.push_back(group);
  if (const std::optional<ScaleBlock> block = weights.block("block_structure")) out.blocks.push_back(*block);
  // "group" needs weight_g_idx, which is read where it is; true is its older name.
  const Json* order = weights.find({"actorder"});
  if (order != nullptr && order->boolean() == nullptr)
    weights.choice({"actorder"}, {"weight", "static", "group", "dynamic"});
}

/// "8 bit float, dynamic".
std::string activation_text(const QuantSection& activations) {
  const Json* bits = activations.find({"num_bits"});
  const Json* type = activations.find({"type"});
  const Json* dynamic = activations.find({"dynamic"});
  std::string text = bits != nullptr ? bits->text() + " bit" : std::string("fewer bits");
  if (type != nullptr && type->string() != nullptr) text += " " + *type->string();
  return text + (dynamic != nullptr && *dynamic == false ? ", static" : ", dynamic");
}

/// What runs around the matrix products would change results.
void refuse_transforms(const QuantSection& section) {
  const std::optional<QuantSection> transform = section.inner("transform_config");
  if (!transform) return;
  const Json* groups = transform->find({"config_groups"});
  if (groups != nullptr && groups->object() != nullptr && !groups->object()->index.empty())
    section.fail("transform_config", *section.find({"transform_config"}), "none: transforms are not known");
}

}  // namespace

void read_compressed_tensors(const QuantSection& section, Quantisation& out) {
  check_format(section);
  refuse_transforms(section);
  if (const std::optional<QuantSection> sparsity = section.inner("sparsity_config"))
    sparsity->choice({"format"}, {"dense"});
  std::string activations;
  if (const std::optional<QuantSection> groups = section.inner("config_groups"))
    for (const auto& [name, place] : groups->object().index) {
      const std::optional<QuantSection> group = groups->inner(name);
      if (!group) continue;
      check_format(*group);
      if (const std::optional<QuantSection> weights = group->inner("weights")) read_weights(*weights, out);
      if (const std::optional<QuantSection> input = group->inner("input_activations"))
        activations = activation_text(*input);
    }
  const Json* format = section.find({"format"});
  std::string note = "compressed-tensors" + (format != nullptr ? " " + *format->string() : std::string());
  if (!activations.empty()) note += ": activations, which the scheme rounds to " + activations + ", are not rounded";
  out.notes.push_back(note);
}

}  // namespace moekit
