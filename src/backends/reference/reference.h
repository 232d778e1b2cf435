// SPDX-License-Identifier: Apache-2.0
// The oracle: plain loops over Eigen in float64. It takes x exactly as given, expands the packed weights as it goes,
// and rounds where the configuration says so and at the end, nowhere else.
//
// What a block computes, for a token x with chosen (id_j, w_j):
//   r = sum_j w_j * expert_id_j(x)          ids >= num_experts are identity experts: expert(x) = x; id -1 adds nothing
//   ApplyAt::kInput: expert_id_j(round(w_j * x)) instead, unweighted; round: to the dtype of x
//   ScaleAt::kOnRoutedSum: r = scale * r
//   s = sum of the shared experts           SharedGate::kSigmoid: sigmoid(x . shared_gate) * s
//   y = out_scale * (r + s)                 SharedGate::kAverage: out_scale * (r + s) / 2
// The sum over j runs in the order of expert ids. A row's result is a function of that row alone.
#pragma once

#include <Eigen/Core>
#include <string>
#include <vector>

#include "backend/backend.h"
#include "formats/quant_rows.h"
#include "routing/routing.h"

namespace moekit::reference {

using Rows = Eigen::Matrix<double, Eigen::Dynamic, Eigen::Dynamic, Eigen::RowMajor>;

/// Plain rows of the packed dtype, or codes and scales: one code a byte, which the oracle can afford.
struct PackedMatrix {
  std::int64_t rows = 0, cols = 0;
  DType dtype = DType::kFloat32;  // of `data`
  std::vector<std::byte> data;
  QuantRows quant;  // where the format is a quantised one
  std::size_t bytes() const noexcept;
  /// Row r as float32.
  void expand(std::int64_t r, float* out) const noexcept;
};

struct PackedExpert {
  PackedMatrix gate, up, down;
  std::vector<float> gate_bias, up_bias, down_bias;  // empty: none
};

class Packed final : public PackedBlock {
 public:
  Packed(const BlockConfig& config, const BlockTensors& tensors, const BlockFormats& formats);
  std::size_t bytes() const noexcept override;
  std::string explain() const override;
  void unpack(std::int64_t expert, bool shared, const ExpertViews& out) const override;

  RouterTables tables;
  std::vector<float> router_weight;  // [columns, input]
  std::vector<PackedExpert> experts, shared;
  std::vector<float> shared_gate;  // [input]
};

struct Scratch final : Workspace {
  RouteScratch route;
  TokenPermutation permutation;
};

/// Element (r, c) of a row as float32.
void load_row(const MatrixView& x, std::int64_t row, float* out) noexcept;

void route(const Packed& block, const MatrixView& x, const RouteInputs& inputs, const RoutingView& routing,
           Scratch& scratch);
/// Whether a group of experts in these formats has its inputs rounded to int8.
inline bool rounds_inputs(const BlockFormats& formats, const ExpertFormats& group) {
  return formats.int8_activations && !group.down.plain();
}
/// One expert on n rows [n, input] to [n, output]. `int8`: the inputs of its projections are rounded to multiples -127
/// .. 127 of s = max |x| / 127 (of the row, in float32), to the nearest, halves to even; s is 0 only for rows of zeros.
Rows expert_mlp(const ExpertConfig& config, const PackedExpert& expert, const Rows& x, bool int8);
void experts(const Packed& block, const MatrixView& x, const RoutingView& routing, const MutableMatrixView& y,
             Scratch& scratch);

/// The activation of gate g and up u; ungated forms ignore g. NaN stays NaN.
double activate(const ExpertConfig& config, double g, double u) noexcept;
double sigmoid(double x) noexcept;

}  // namespace moekit::reference
