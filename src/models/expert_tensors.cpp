// SPDX-License-Identifier: Apache-2.0
#include "models/expert_tensors.h"

#include <algorithm>

#include "models/quantised_projection.h"
#include "models/stacked_scales.h"

namespace moekit {
namespace {

/// The names under which most projections are found below `prefix`, so that a missing one is told by the right name.
const ProjectionNames& names_in_use(const Family& family, const std::string& prefix, const Accounting& tensors) {
  const ProjectionNames* best = &family.projections.front();
  std::ptrdiff_t most = 0;
  for (const ProjectionNames& each : family.projections) {
    const auto names = {each.gate, each.up, each.down};
    const std::ptrdiff_t found = std::count_if(names.begin(), names.end(), [&](const char* name) {
      return has_projection(prefix + name + ".weight", tensors);
    });
    if (found > most) {
      most = found;
      best = &each;
    }
  }
  return *best;
}

/// A [rows, cols] matrix, plain or quantised.
MatrixRef take_matrix(const std::string& name, std::int64_t rows, std::int64_t cols, const char* why,
                      const Quantisation& quantisation, Accounting& tensors, TensorRef scales = {}) {
  if (auto quantised = take_quantised(quantisation, {name, 0, rows, cols, 1, why, std::move(scales)}, tensors))
    return quantised_matrix(std::move(quantised));
  return matrix_of(tensors.take(name, {rows, cols}, why));
}

/// Scales of one expert that lie elsewhere; empty: beside its weights.
struct ExpertScales {
  TensorRef gate, up, down;
};

/// gate.weight, up.weight, down.weight (and .bias) below `prefix`.
ExpertTensors take_one(const Family& family, const ExpertConfig& config, const std::string& prefix, const char* why_up,
                       const char* why_down, const ExpertScales& scales, const Quantisation& quantisation,
                       Accounting& tensors) {
  const ProjectionNames& used = names_in_use(family, prefix, tensors);
  const auto names = [&](const char* ProjectionNames::*projection, const char* suffix) {
    return std::vector<std::string>{prefix + used.*projection + suffix};
  };
  const std::int64_t hidden = config.input, inner = config.intermediate;
  ExpertTensors expert;
  if (is_gated(config.act))
    expert.gate =
        take_matrix(prefix + used.gate + ".weight", inner, hidden, why_up, quantisation, tensors, scales.gate);
  expert.up = take_matrix(prefix + used.up + ".weight", inner, hidden, why_up, quantisation, tensors, scales.up);
  expert.down =
      take_matrix(prefix + used.down + ".weight", hidden, inner, why_down, quantisation, tensors, scales.down);
  if (config.up_bias) {
    if (is_gated(config.act))
      expert.gate_bias = bias_of(tensors.take(names(&ProjectionNames::gate, ".bias"), {inner}, why_up), 0, 0, inner, 1);
    expert.up_bias = bias_of(tensors.take(names(&ProjectionNames::up, ".bias"), {inner}, why_up), 0, 0, inner, 1);
  }
  if (config.down_bias)
    expert.down_bias =
        bias_of(tensors.take(names(&ProjectionNames::down, ".bias"), {hidden}, why_down), 0, 0, hidden, 1);
  return expert;
}

std::vector<ExpertTensors> take_each(const Family& family, const BlockConfig& config, const Quantisation& quantisation,
                                     Accounting& tensors) {
  std::string prefix = family.experts_prefixes.front();
  for (const std::string& candidate : family.experts_prefixes)
    for (const ProjectionNames& names : family.projections)
      if (has_projection(candidate + std::to_string(family.place.first_expert) + "." + names.up + ".weight", tensors))
        prefix = candidate;
  // One at a time: a config.json that claims 2^31 experts fails at the first that is missing.
  const std::string says = "config.json says " + std::to_string(config.router.num_experts) + " experts of ";
  const std::string why_up = says + "[intermediate size, hidden size]";
  const std::string why_down = says + "[hidden size, intermediate size]";
  const std::int64_t halves = is_gated(config.expert.act) ? 2 : 1;
  const StackedScales scales(family, config.router.num_experts, halves, tensors);
  std::vector<ExpertTensors> experts;
  for (std::int64_t e = 0; e < config.router.num_experts; ++e)
    experts.push_back(take_one(family, config.expert, prefix + std::to_string(family.place.first_expert + e) + ".",
                               why_up.c_str(), why_down.c_str(),
                               {scales.up_part(e, 0), scales.up_part(e, halves - 1), scales.down(e)}, quantisation,
                               tensors));
  return experts;
}

}  // namespace

MatrixRef bias_of(const TensorRef& tensor, std::int64_t row, std::int64_t first, std::int64_t count,
                  std::int64_t step) {
  return {tensor, row * tensor.shape.back() + first, 1, count, tensor.shape.back(), step};
}

std::vector<ExpertTensors> take_experts(const Family& family, const BlockConfig& config,
                                        const Quantisation& quantisation, Accounting& tensors) {
  for (const StackedNames& names : family.stacked_names)
    if (has_projection(names.gate_up, tensors) || has_projection(names.down, tensors))
      return take_stacked(family, config, names, quantisation, tensors);
  for (const SeparateNames& names : family.separate_names)
    if (has_projection(names.gate, tensors) || has_projection(names.up, tensors) ||
        has_projection(names.down, tensors) || family.experts_prefixes.empty())
      return take_separate(config, names, quantisation, tensors);
  return take_each(family, config, quantisation, tensors);
}

std::vector<ExpertTensors> take_shared(const Family& family, const BlockConfig& config,
                                       const Quantisation& quantisation, Accounting& tensors) {
  if (config.shared.count == 0) return {};
  std::string prefix = family.shared_prefixes.front();
  for (const std::string& candidate : family.shared_prefixes)
    for (const ProjectionNames& names : family.projections)
      if (has_projection(candidate + names.down + ".weight", tensors)) prefix = candidate;
  const ExpertConfig& shape = config.shared.expert;
  for (const std::string& candidate : family.shared_prefixes)
    for (const StackedNames& names : family.shared_stacked_names) {
      const ProjectionNames& each = names_in_use(family, candidate, tensors);
      const bool single = has_projection(candidate + each.gate + ".weight", tensors) ||
                          has_projection(candidate + each.up + ".weight", tensors);
      if (!has_projection(candidate + names.gate_up, tensors) &&
          (single || !has_projection(candidate + names.down, tensors)))
        continue;
      const MatrixRef both =
          take_matrix(candidate + names.gate_up, 2 * shape.intermediate, shape.input,
                      "gate and up of the shared expert, hidden size of the configuration", quantisation, tensors);
      ExpertTensors expert;
      expert.gate = row_slice(both, 0, shape.intermediate);
      expert.up = row_slice(both, shape.intermediate, shape.intermediate);
      expert.down = take_matrix(candidate + names.down, shape.output, shape.intermediate,
                                "hidden size, shared intermediate size of the configuration", quantisation, tensors);
      return {expert};
    }
  return {take_one(family, config.shared.expert, prefix, "shared intermediate size, hidden size of the configuration",
                   "hidden size, shared intermediate size of the configuration", {}, quantisation, tensors)};
}

}  // namespace moekit
