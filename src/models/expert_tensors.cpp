// SPDX-License-Identifier: Apache-2.0
#include "models/expert_tensors.h"

#include <algorithm>
#include <memory>

#include "checkpoint/text.h"
#include "moekit/quantised.h"

namespace moekit {
namespace {

/// Elements first, first + step, ... (count of them) of a row of a stacked [E, n] tensor, as a [1, count] matrix.
MatrixRef bias_of(const TensorRef& tensor, std::int64_t row, std::int64_t first, std::int64_t count,
                  std::int64_t step) {
  return {tensor, row * tensor.shape.back() + first, 1, count, tensor.shape.back(), step};
}

/// The matrices of a tensor [N, K] or [E, N, K], whether its elements are plain or in blocks.
class Matrices {
 public:
  explicit Matrices(const TensorRef& tensor) : tensor_(tensor) {
    if (tensor.encoding != Encoding::kPlain) blocks_ = ggml_tensors(tensor);
  }
  MatrixRef at(std::int64_t index, bool transposed = false) const {
    return blocks_ ? quantised_matrix(blocks_, index) : stacked_matrix(tensor_, index, transposed);
  }
  MatrixRef only() const { return blocks_ ? quantised_matrix(blocks_) : matrix_of(tensor_); }

 private:
  const TensorRef& tensor_;
  std::shared_ptr<const QuantTensors> blocks_;
};

/// The names under which most projections are found below `prefix`, so that a missing one is told by the right name.
const ProjectionNames& names_in_use(const Family& family, const std::string& prefix, const Accounting& tensors) {
  const ProjectionNames* best = &family.projections.front();
  std::ptrdiff_t most = 0;
  for (const ProjectionNames& each : family.projections) {
    const auto names = {each.gate, each.up, each.down};
    const std::ptrdiff_t found = std::count_if(names.begin(), names.end(), [&](const char* name) {
      return !tensors.find({prefix + name + ".weight"}).empty();
    });
    if (found > most) {
      most = found;
      best = &each;
    }
  }
  return *best;
}

/// gate.weight, up.weight, down.weight (and .bias) below `prefix`.
ExpertTensors take_one(const Family& family, const ExpertConfig& config, const std::string& prefix, const char* why_up,
                       const char* why_down, Accounting& tensors) {
  const ProjectionNames& used = names_in_use(family, prefix, tensors);
  const auto names = [&](const char* ProjectionNames::*projection, const char* suffix) {
    return std::vector<std::string>{prefix + used.*projection + suffix};
  };
  const std::int64_t hidden = config.input, inner = config.intermediate;
  ExpertTensors expert;
  if (is_gated(config.act))
    expert.gate = Matrices(tensors.take(names(&ProjectionNames::gate, ".weight"), {inner, hidden}, why_up)).only();
  expert.up = Matrices(tensors.take(names(&ProjectionNames::up, ".weight"), {inner, hidden}, why_up)).only();
  expert.down = Matrices(tensors.take(names(&ProjectionNames::down, ".weight"), {hidden, inner}, why_down)).only();
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

struct StackedShapes {
  std::vector<std::int64_t> up, down;
};

/// Whether the stacked tensors are [E, in, out]. With kByShape the tensors say so; equal sides leave kRows.
bool is_transposed(const Family& family, const StackedShapes& rows, const StackedShapes& turned,
                   const StackedShapes& seen) {
  if (family.stacked != Stacked::kByShape) return family.stacked == Stacked::kTransposed;
  return seen.up == turned.up && seen.down == turned.down && (seen.up != rows.up || seen.down != rows.down);
}

std::vector<ExpertTensors> take_stacked(const Family& family, const BlockConfig& config, const StackedNames& names,
                                        Accounting& tensors) {
  const std::int64_t count = config.router.num_experts;
  const std::int64_t hidden = config.expert.input, inner = config.expert.intermediate;
  const bool gated = is_gated(config.expert.act);
  const std::int64_t width = gated ? 2 * inner : inner;
  const std::string up_name = names.gate_up, down_name = names.down;
  const StackedShapes seen = {tensors.shape(up_name), tensors.shape(down_name)};
  // LongCat's class stacks gate and up of identity experts too, which nothing reads.
  const std::int64_t columns = config.router.columns();
  const std::int64_t up_count = !seen.up.empty() && seen.up.front() == columns ? columns : count;
  const StackedShapes rows = {{up_count, width, hidden}, {count, hidden, inner}};
  const StackedShapes turned = {{up_count, hidden, width}, {count, inner, hidden}};
  const bool transposed = is_transposed(family, rows, turned, seen);
  const StackedShapes& expected = transposed ? turned : rows;
  const TensorRef& up = tensors.take(up_name, expected.up, "experts, gate and up rows, hidden size of the configuration");
  const TensorRef& down =
      tensors.take(down_name, expected.down, "experts, hidden size, intermediate size of the configuration");
  TensorRef up_bias, down_bias;
  if (config.expert.up_bias) up_bias = tensors.take(up_name + "_bias", {count, width}, "biases of gate and up");
  const bool one_bias = !family.down_bias_for_all.empty();
  if (one_bias)
    down_bias = tensors.take(family.down_bias_for_all, {hidden}, "hidden size of the configuration");
  else if (config.expert.down_bias)
    down_bias = tensors.take(down_name + "_bias", {count, hidden}, "biases of down");

  const std::int64_t step = gated && family.interleaved ? 2 : 1;
  const std::int64_t up_first = !gated ? 0 : family.interleaved ? 1 : inner;
  const Matrices ups(up), downs(down);
  std::vector<ExpertTensors> experts;
  for (std::int64_t e = 0; e < count; ++e) {
    ExpertTensors expert;
    const MatrixRef both = ups.at(e, transposed);
    if (gated) expert.gate = row_slice(both, 0, inner, step);
    expert.up = row_slice(both, up_first, inner, step);
    expert.down = downs.at(e, transposed);
    if (up_bias) {
      if (gated) expert.gate_bias = bias_of(up_bias, e, 0, inner, step);
      expert.up_bias = bias_of(up_bias, e, up_first, inner, step);
    }
    if (down_bias) expert.down_bias = bias_of(down_bias, one_bias ? 0 : e, 0, hidden, 1);
    experts.push_back(expert);
  }
  return experts;
}

/// The biases of separate tensors, whose names end in ".weight".
void take_separate_biases(const BlockConfig& config, const SeparateNames& names, Accounting& tensors,
                          std::vector<ExpertTensors>& experts) {
  const auto take = [&](bool wanted, const std::string& weight, std::int64_t size, MatrixRef ExpertTensors::*part) {
    if (!wanted) return;
    const std::string name = weight.substr(0, weight.rfind('.')) + ".bias";
    const TensorRef& bias = tensors.take(name, {config.router.num_experts, size}, "experts, size of a bias");
    for (std::size_t e = 0; e < experts.size(); ++e)
      experts[e].*part = bias_of(bias, static_cast<std::int64_t>(e), 0, size, 1);
  };
  take(config.expert.up_bias, names.gate, config.expert.intermediate, &ExpertTensors::gate_bias);
  take(config.expert.up_bias, names.up, config.expert.intermediate, &ExpertTensors::up_bias);
  take(config.expert.down_bias, names.down, config.expert.input, &ExpertTensors::down_bias);
}

/// All experts under each other, [E * I, H]: rows of one matrix, and columns for down.
std::vector<ExpertTensors> take_flat(const BlockConfig& config, const SeparateNames& names, Accounting& tensors) {
  const std::int64_t count = config.router.num_experts;
  const std::int64_t hidden = config.expert.input, inner = config.expert.intermediate;
  const char* why = "experts, intermediate size and hidden size of the configuration";
  const std::vector<std::int64_t> flat = {count * inner, hidden};  // sizes are below 2^31 each
  const TensorRef& gate = tensors.take(names.gate, flat, why);
  const TensorRef& up = tensors.take(names.up, flat, why);
  const TensorRef& down = tensors.take(names.down, flat, why);
  std::vector<ExpertTensors> experts(static_cast<std::size_t>(count));
  for (std::int64_t e = 0; e < count; ++e) {
    ExpertTensors& expert = experts[static_cast<std::size_t>(e)];
    const std::int64_t offset = e * inner * hidden;
    expert.gate = {gate, offset, inner, hidden, hidden, 1};
    expert.up = {up, offset, inner, hidden, hidden, 1};
    expert.down = {down, offset, hidden, inner, 1, hidden};
  }
  return experts;
}

std::vector<ExpertTensors> take_separate(const BlockConfig& config, const SeparateNames& names, Accounting& tensors) {
  if (names.flat) return take_flat(config, names, tensors);
  const std::int64_t count = config.router.num_experts;
  const std::int64_t hidden = config.expert.input, inner = config.expert.intermediate;
  const char* why = "experts, intermediate size and hidden size of the configuration";
  const std::vector<std::int64_t> rows = {count, inner, hidden};
  const Matrices gate(tensors.take(names.gate, rows, why)), up(tensors.take(names.up, rows, why));
  const Matrices down(tensors.take(names.down, {count, hidden, inner}, why));
  std::vector<ExpertTensors> experts;
  for (std::int64_t e = 0; e < count; ++e) {
    experts.emplace_back();
    experts.back().gate = gate.at(e);
    experts.back().up = up.at(e);
    experts.back().down = down.at(e);
  }
  take_separate_biases(config, names, tensors, experts);
  return experts;
}

std::vector<ExpertTensors> take_each(const Family& family, const BlockConfig& config, Accounting& tensors) {
  std::string prefix = family.experts_prefixes.front();
  for (const std::string& candidate : family.experts_prefixes)
    for (const ProjectionNames& names : family.projections)
      if (!tensors.find({candidate + "0." + names.up + ".weight"}).empty()) prefix = candidate;
  // One at a time: a config.json that claims 2^31 experts fails at the first that is missing.
  const std::string says = "config.json says " + std::to_string(config.router.num_experts) + " experts of ";
  const std::string why_up = says + "[intermediate size, hidden size]";
  const std::string why_down = says + "[hidden size, intermediate size]";
  std::vector<ExpertTensors> experts;
  for (std::int64_t e = 0; e < config.router.num_experts; ++e)
    experts.push_back(
        take_one(family, config.expert, prefix + std::to_string(e) + ".", why_up.c_str(), why_down.c_str(), tensors));
  return experts;
}

}  // namespace

std::vector<ExpertTensors> take_experts(const Family& family, const BlockConfig& config, Accounting& tensors) {
  for (const StackedNames& names : family.stacked_names)
    if (!tensors.find({names.gate_up, names.down}).empty()) return take_stacked(family, config, names, tensors);
  for (const SeparateNames& names : family.separate_names)
    if (!tensors.find({names.gate, names.up, names.down}).empty() || family.experts_prefixes.empty())
      return take_separate(config, names, tensors);
  return take_each(family, config, tensors);
}

std::vector<ExpertTensors> take_shared(const Family& family, const BlockConfig& config, Accounting& tensors) {
  if (config.shared.count == 0) return {};
  std::string prefix = family.shared_prefixes.front();
  for (const std::string& candidate : family.shared_prefixes)
    for (const ProjectionNames& names : family.projections)
      if (!tensors.find({candidate + names.down + ".weight"}).empty()) prefix = candidate;
  const ExpertConfig& shape = config.shared.expert;
  for (const std::string& candidate : family.shared_prefixes)
    for (const StackedNames& names : family.shared_stacked_names) {
      const ProjectionNames& each = names_in_use(family, candidate, tensors);
      const std::vector<std::string> single = {candidate + each.gate + ".weight", candidate + each.up + ".weight"};
      if (tensors.find({candidate + names.gate_up}).empty() &&
          (tensors.find({candidate + names.down}).empty() || !tensors.find(single).empty()))
        continue;
      const MatrixRef both = matrix_of(tensors.take(candidate + names.gate_up, {2 * shape.intermediate, shape.input},
                                                    "gate and up of the shared expert, hidden size of the configuration"));
      ExpertTensors expert;
      expert.gate = row_slice(both, 0, shape.intermediate);
      expert.up = row_slice(both, shape.intermediate, shape.intermediate);
      expert.down = matrix_of(tensors.take(candidate + names.down, {shape.output, shape.intermediate},
                                           "hidden size, shared intermediate size of the configuration"));
      return {expert};
    }
  return {take_one(family, config.shared.expert, prefix, "shared intermediate size, hidden size of the configuration",
                   "hidden size, shared intermediate size of the configuration", tensors)};
}

}  // namespace moekit
