// SPDX-License-Identifier: Apache-2.0
// The dense softmax module of the PyTorch tutorials: linear experts, softmax gate, weighted sum.
#pragma once

#include <cstdint>
#include <memory>

#include "moekit/layer.h"

namespace moekit {

/// y = sum_e softmax(x Wg^T + bg)_e (x We^T + be). The C++ twin of moekit.MoE in Python.
class MoE {
 public:
  /// Parameters drawn as torch.nn.Linear draws them: uniform in +-1/sqrt(input_dim), from `seed`.
  /// Throws std::invalid_argument for a size < 1.
  MoE(std::int64_t num_experts, std::int64_t input_dim, std::int64_t output_dim, std::uint64_t seed = 0);

  /// From given parameters, row-major float32 or bfloat16: expert_weights[e] [output_dim, input_dim],
  /// expert_biases[e] [output_dim] (or all null), gate_weight [num_experts, input_dim], gate_bias (or null).
  struct Parameters {
    DType dtype = DType::kFloat32;
    std::vector<const void*> expert_weights, expert_biases;
    const void* gate_weight = nullptr;
    const void* gate_bias = nullptr;
  };
  MoE(std::int64_t num_experts, std::int64_t input_dim, std::int64_t output_dim, const Parameters& parameters,
      const LayerOptions& options = {});

  std::int64_t num_experts() const noexcept { return layer_.config().router.num_experts; }
  std::int64_t input_dim() const noexcept { return layer_.config().expert.input; }
  std::int64_t output_dim() const noexcept { return layer_.config().expert.output; }

  /// x [T, input_dim] to y [T, output_dim], both in host memory; see MoeLayer::forward_host.
  void forward(const MatrixView& x, const MutableMatrixView& y) const { layer_.forward_host(x, y); }
  const MoeLayer& layer() const noexcept { return layer_; }

 private:
  MoeLayer layer_;
};

}  // namespace moekit
