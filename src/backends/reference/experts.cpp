// SPDX-License-Identifier: Apache-2.0
#include <cmath>
#include <limits>

#include "backends/reference/reference.h"
#include "core/float_convert.h"
#include "routing/rules.h"

namespace moekit::reference {
namespace {

// x W^T + bias. One row of W is expanded at a time; every element is one dot product, whose order is a function of its
// length alone, so that a row does not see its neighbours.
Rows project(const PackedMatrix& weight, const std::vector<float>& bias, const Rows& x) {
  Rows out(x.rows(), weight.rows);
  Eigen::VectorXf expanded(weight.cols);
  for (std::int64_t r = 0; r < weight.rows; ++r) {
    weight.expand(r, expanded.data());
    const Eigen::VectorXd row = expanded.cast<double>();
    const double offset = bias.empty() ? 0.0 : static_cast<double>(bias[static_cast<std::size_t>(r)]);
    for (Eigen::Index t = 0; t < x.rows(); ++t) out(t, r) = x.row(t).dot(row) + offset;
  }
  return out;
}

Rows load_all(const MatrixView& x) {
  Rows rows(x.rows, x.cols);
  Eigen::VectorXf row(x.cols);
  for (std::int64_t t = 0; t < x.rows; ++t) {
    load_row(x, t, row.data());
    rows.row(t) = row.cast<double>();
  }
  return rows;
}

// As int8 activations hold them. A row that is not finite becomes NaN.
Rows round_to_int8(Rows rows) {
  for (Eigen::Index t = 0; t < rows.rows(); ++t) {
    const Eigen::RowVectorXf row = rows.row(t).cast<float>();
    const bool finite = row.allFinite();
    const float scale = row.cwiseAbs().maxCoeff() / 127.0f;
    for (Eigen::Index i = 0; i < row.size(); ++i) {
      const float steps = scale > 0.0f ? std::nearbyint(row(i) / scale) : 0.0f;
      rows(t, i) =
          finite ? static_cast<double>(steps) * static_cast<double>(scale) : std::numeric_limits<double>::quiet_NaN();
    }
  }
  return rows;
}

// Expert input w * x as a tensor of x's dtype holds it.
void weigh_input(DType dtype, float weight, Eigen::Ref<Eigen::RowVectorXd> row) {
  for (double& value : row) {
    const float product = weight * static_cast<float>(value);
    value = static_cast<double>(rounded(product, dtype));
  }
}

// Adds the experts of every token to `sum`, expert by expert.
void add_routed(const Packed& block, const Rows& x, DType dtype, const RoutingView& routing, Scratch& scratch,
                Rows& sum) {
  const BlockConfig& config = block.config();
  const bool at_input = config.router.apply_at == ApplyAt::kInput;
  const std::int64_t experts = config.router.num_experts, columns = config.router.columns();
  TokenPermutation& order = scratch.permutation;
  permute(routing, columns, order);
  for (std::int64_t e = 0; e < columns; ++e) {
    const std::int64_t first = order.offsets[static_cast<std::size_t>(e)];
    const std::int64_t count = order.offsets[static_cast<std::size_t>(e) + 1] - first;
    if (count == 0) continue;
    Rows input(count, x.cols());
    for (std::int64_t i = 0; i < count; ++i) {
      const auto row = static_cast<std::size_t>(first + i);
      input.row(i) = x.row(order.token[row]);
      if (at_input) weigh_input(dtype, order.weight[row], input.row(i));
    }
    const Rows output = e < experts ? expert_mlp(config.expert, block.experts[static_cast<std::size_t>(e)], input,
                                                 rounds_inputs(block.formats(), block.formats().routed))
                                    : input;
    for (std::int64_t i = 0; i < count; ++i) {
      const auto row = static_cast<std::size_t>(first + i);
      const double weight = at_input ? 1.0 : static_cast<double>(order.weight[row]);
      sum.row(order.token[row]) += weight * output.row(i);
    }
  }
}

void add_shared(const Packed& block, const Rows& x, Rows& sum) {
  const SharedConfig& config = block.config().shared;
  if (config.count == 0) return;
  Rows shared = Rows::Zero(sum.rows(), sum.cols());
  const bool int8 = rounds_inputs(block.formats(), block.formats().shared);
  for (const PackedExpert& expert : block.shared) shared += expert_mlp(config.expert, expert, x, int8);
  if (config.gate == SharedGate::kSigmoid) {
    const Eigen::VectorXd gate = Eigen::Map<const Eigen::VectorXf>(block.shared_gate.data(), x.cols()).cast<double>();
    for (Eigen::Index t = 0; t < x.rows(); ++t) shared.row(t) *= sigmoid(x.row(t).dot(gate));
  }
  sum += shared;
  if (config.gate == SharedGate::kAverage) sum *= 0.5;
}

}  // namespace

Rows expert_mlp(const ExpertConfig& config, const PackedExpert& expert, const Rows& input, bool int8) {
  const Rows x = int8 ? round_to_int8(input) : input;
  if (config.act == Activation::kLinear) return project(expert.down, expert.down_bias, x);
  Rows hidden = project(expert.up, expert.up_bias, x);
  const Rows gate = is_gated(config.act) ? project(expert.gate, expert.gate_bias, x) : hidden;
  for (Eigen::Index t = 0; t < hidden.rows(); ++t)
    for (Eigen::Index i = 0; i < hidden.cols(); ++i) hidden(t, i) = activate(config, gate(t, i), hidden(t, i));
  return project(expert.down, expert.down_bias, int8 ? round_to_int8(hidden) : hidden);
}

void experts(const Packed& block, const MatrixView& x, const RoutingView& routing, const MutableMatrixView& y,
             Scratch& scratch) {
  const BlockConfig& config = block.config();
  const Rows input = load_all(x);
  Rows sum = Rows::Zero(y.rows, y.cols);
  add_routed(block, input, x.dtype, routing, scratch, sum);
  if (config.router.scale_at == ScaleAt::kOnRoutedSum) sum *= config.router.scale;
  add_shared(block, input, sum);
  sum *= config.out_scale;
  for (std::int64_t t = 0; t < y.rows; ++t)
    for (std::int64_t c = 0; c < y.cols; ++c)
      store_float(y.data, y.dtype, t * y.row_stride + c, static_cast<float>(sum(t, c)));
}

}  // namespace moekit::reference
