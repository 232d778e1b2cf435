// SPDX-License-Identifier: Apache-2.0
// What the weights of a converted layer are, from the header of its file.
#include "layer/memory_budget.h"
#include "layer/packed_layer.h"
#include "models/converted.h"

namespace moekit {
namespace {

constexpr struct {
  const char* name;
  WeightFormat ExpertFormats::*format;
} kProjections[] = {{"gate", &ExpertFormats::gate}, {"up", &ExpertFormats::up}, {"down", &ExpertFormats::down}};

// Weights of a projection of one expert, 0 where the form has none.
std::int64_t weights_of(const ExpertConfig& config, const std::string& projection) {
  const bool linear = config.act == Activation::kLinear;
  if (projection == "down") return config.output * (linear ? config.input : config.intermediate);
  return linear || (projection == "gate" && !is_gated(config.act)) ? 0 : config.intermediate * config.input;
}

void add_parts(const std::string& prefix, const ExpertConfig& config, const ExpertFormats& formats, WeightsInfo& info) {
  for (const auto& projection : kProjections) {
    if (weights_of(config, projection.name) == 0) continue;
    const WeightFormat& format = formats.*projection.format;
    const bool over_inner = std::string(projection.name) == "down" && config.act != Activation::kLinear;
    info.parts.push_back({prefix + projection.name, describe(format),
                          bits_per_weight(format, over_inner ? config.intermediate : config.input)});
  }
}

double all_weights(const ExpertConfig& config) {
  double sum = 0.0;
  for (const auto& projection : kProjections) sum += static_cast<double>(weights_of(config, projection.name));
  return sum;
}

std::int64_t bytes_of(const SealedFile& file, const std::string& prefix) {
  std::uint64_t sum = 0;
  for (const SafetensorsEntry& entry : file.tensors())
    if (entry.name.compare(0, prefix.size(), prefix) == 0) sum += entry.end - entry.begin;
  return static_cast<std::int64_t>(sum);
}

}  // namespace

WeightsInfo inspect_converted_weights(const std::string& path, std::int64_t layer, const std::string& experts) {
  const PackedLayer packed = open_packed_layer(converted_file(path, layer, experts));
  const BlockConfig& config = packed.config;
  WeightsInfo info;
  info.dtype = names(packed.formats);
  add_parts("", config.expert, packed.formats.routed, info);
  info.routed_bytes = bytes_of(*packed.file, "routed.");
  info.expert_bytes = info.routed_bytes / config.router.num_experts;
  double weights = all_weights(config.expert) * static_cast<double>(config.router.num_experts);
  if (config.shared.count > 0) {
    add_parts("shared ", config.shared.expert, packed.formats.shared, info);
    info.shared_bytes = bytes_of(*packed.file, "shared.");
    weights += all_weights(config.shared.expert) * static_cast<double>(config.shared.count);
  }
  info.bits_per_weight = 8.0 * static_cast<double>(info.routed_bytes + info.shared_bytes) / weights;
  info.notes = packed.dense.notes;
  return info;
}

MemoryNeeds memory_needs(const std::string& path, std::int64_t layer, const std::string& experts) {
  return memory_needs(open_packed_layer(converted_file(path, layer, experts)));
}

}  // namespace moekit
