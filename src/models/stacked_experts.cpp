// SPDX-License-Identifier: Apache-2.0
// Experts that are stacked: gate and up in one tensor, or each projection in its own.
#include "models/expert_tensors.h"
#include "models/quantised_projection.h"

namespace moekit {
namespace {

struct StackedShapes {
  std::vector<std::int64_t> up, down;
};

/// Whether the stacked tensors are [E, in, out]. With kByShape the tensors say so; equal sides leave kRows.
bool is_transposed(const Family& family, const StackedShapes& rows, const StackedShapes& turned,
                   const StackedShapes& seen) {
  if (family.stacked != Stacked::kByShape) return family.stacked == Stacked::kTransposed;
  return seen.up == turned.up && seen.down == turned.down && (seen.up != rows.up || seen.down != rows.down);
}

/// A stack of matrices [count, rows, cols], plain ([count, cols, rows] when transposed) or quantised.
class Stack {
 public:
  Stack(const Projection& projection, const std::vector<std::int64_t>& plain_shape, bool transposed,
        const Quantisation& quantisation, Accounting& tensors)
      : transposed_(transposed), quant_(take_quantised(quantisation, projection, tensors)) {
    if (quant_ == nullptr) plain_ = tensors.take(projection.weight, plain_shape, projection.why);
  }

  MatrixRef matrix(std::int64_t index) const {
    return quant_ != nullptr ? quantised_matrix(quant_, index) : stacked_matrix(plain_, index, transposed_);
  }
  /// Rows of part `part` of matrix `index`, which is two of `rows` rows below each other, or alternating.
  MatrixRef part(std::int64_t index, std::int64_t part, std::int64_t rows, bool interleaved) const {
    // Halves with scales of their own are matrices of their own.
    if (quant_ != nullptr && quant_->rows == rows) return quantised_matrix(quant_, index * 2 + part);
    return interleaved ? row_slice(matrix(index), part, rows, 2) : row_slice(matrix(index), part * rows, rows);
  }

 private:
  bool transposed_;
  std::shared_ptr<const QuantTensors> quant_;
  TensorRef plain_;
};

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

}  // namespace

std::vector<ExpertTensors> take_stacked(const Family& family, const BlockConfig& config, const StackedNames& names,
                                        const Quantisation& quantisation, Accounting& tensors) {
  const std::int64_t count = config.router.num_experts;
  const std::int64_t hidden = config.expert.input, inner = config.expert.intermediate;
  const bool gated = is_gated(config.expert.act), interleaved = family.interleaved || names.interleaved;
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
  const std::int64_t halves = gated && !interleaved ? 2 : 1;
  const Stack up(
      {up_name, up_count, width, hidden, halves, "experts, gate and up rows, hidden size of the configuration"},
      expected.up, transposed, quantisation, tensors);
  const Stack down({down_name, count, hidden, inner, 1, "experts, hidden size, intermediate size of the configuration"},
                   expected.down, transposed, quantisation, tensors);
  TensorRef up_bias, down_bias;
  if (config.expert.up_bias) up_bias = tensors.take(up_name + "_bias", {count, width}, "biases of gate and up");
  const bool one_bias = !family.down_bias_for_all.empty();
  if (one_bias)
    down_bias = tensors.take(family.down_bias_for_all, {hidden}, "hidden size of the configuration");
  else if (config.expert.down_bias)
    down_bias = tensors.take(down_name + "_bias", {count, hidden}, "biases of down");

  const std::int64_t step = gated && interleaved ? 2 : 1;
  const std::int64_t up_first = !gated ? 0 : interleaved ? 1 : inner;
  std::vector<ExpertTensors> experts;
  for (std::int64_t e = 0; e < count; ++e) {
    ExpertTensors expert;
    if (gated) expert.gate = up.part(e, 0, inner, interleaved);
    expert.up = gated ? up.part(e, 1, inner, interleaved) : up.matrix(e);
    expert.down = down.matrix(e);
    if (up_bias) {
      if (gated) expert.gate_bias = bias_of(up_bias, e, 0, inner, step);
      expert.up_bias = bias_of(up_bias, e, up_first, inner, step);
    }
    if (down_bias) expert.down_bias = bias_of(down_bias, one_bias ? 0 : e, 0, hidden, 1);
    experts.push_back(expert);
  }
  return experts;
}

std::vector<ExpertTensors> take_separate(const BlockConfig& config, const SeparateNames& names,
                                         const Quantisation& quantisation, Accounting& tensors) {
  const std::int64_t count = config.router.num_experts;
  const std::int64_t hidden = config.expert.input, inner = config.expert.intermediate;
  const char* why = "experts, intermediate size and hidden size of the configuration";
  std::vector<ExpertTensors> experts;
  if (!names.flat) {
    const Stack gate({names.gate, count, inner, hidden, 1, why}, {count, inner, hidden}, false, quantisation, tensors);
    const Stack up({names.up, count, inner, hidden, 1, why}, {count, inner, hidden}, false, quantisation, tensors);
    const Stack down({names.down, count, hidden, inner, 1, why}, {count, hidden, inner}, false, quantisation, tensors);
    experts.resize(static_cast<std::size_t>(count));
    for (std::int64_t e = 0; e < count; ++e) {
      ExpertTensors& expert = experts[static_cast<std::size_t>(e)];
      expert.gate = gate.matrix(e);
      expert.up = up.matrix(e);
      expert.down = down.matrix(e);
    }
    take_separate_biases(config, names, tensors, experts);
    return experts;
  }
  // Sizes are below 2^31 each. All three are [E * I, H], down transposed: no quantised checkpoint has them.
  const std::vector<std::int64_t> flat = {count * inner, hidden};
  const TensorRef& gate = tensors.take(names.gate, flat, why);
  const TensorRef& up = tensors.take(names.up, flat, why);
  const TensorRef& down = tensors.take(names.down, flat, why);
  experts.resize(static_cast<std::size_t>(count));  // the tensors have as many
  for (std::int64_t e = 0; e < count; ++e) {
    ExpertTensors& expert = experts[static_cast<std::size_t>(e)];
    const std::int64_t offset = e * inner * hidden;
    expert.gate = {gate, offset, inner, hidden, hidden, 1};
    expert.up = {up, offset, inner, hidden, hidden, 1};
    expert.down = {down, offset, hidden, inner, 1, hidden};
  }
  return experts;
}

}  // namespace moekit
