// SPDX-License-Identifier: Apache-2.0
#include "moekit/moe.h"

#include <cmath>
#include <random>
#include <stdexcept>
#include <string>

#include "core/checks.h"

namespace moekit {
namespace {

constexpr std::int64_t kMaxExtent = std::int64_t{1} << 28;  // as for the experts of a block

void check_sizes(std::int64_t num_experts, std::int64_t input_dim, std::int64_t output_dim) {
  const Checker check{"MoE"};
  check.in_range("num_experts", num_experts, 1, std::int64_t{1} << 20);
  check.in_range("input_dim", input_dim, 1, kMaxExtent);
  check.in_range("output_dim", output_dim, 1, kMaxExtent);
}

// The pipeline of a sparse block with top_k = num_experts and linear experts.
BlockConfig dense_config(std::int64_t num_experts, std::int64_t input_dim, std::int64_t output_dim, bool bias) {
  BlockConfig config;
  config.router.num_experts = num_experts;
  config.router.top_k = num_experts;
  config.router.all_experts = true;
  config.router.score = Score::kSoftmax;
  config.router.matmul = Precision::kFloat32;
  config.expert.act = Activation::kLinear;
  config.expert.input = input_dim;
  config.expert.output = output_dim;
  config.expert.down_bias = bias;
  return config;
}

MoeLayer build(std::int64_t num_experts, std::int64_t input_dim, std::int64_t output_dim,
               const MoE::Parameters& parameters, const LayerOptions& options) {
  check_sizes(num_experts, input_dim, output_dim);
  const auto count = static_cast<std::size_t>(num_experts);
  const auto fail = [](const std::string& what) { throw std::invalid_argument("[MoE] " + what); };
  if (parameters.dtype != DType::kFloat32 && parameters.dtype != DType::kBFloat16)
    fail("parameters of dtype " + std::string(dtype_name(parameters.dtype)) + ", expected float32 or bfloat16");
  if (parameters.expert_weights.size() != count)
    fail(std::to_string(parameters.expert_weights.size()) + " expert weights, expected " + std::to_string(count));
  if (!parameters.expert_biases.empty() && parameters.expert_biases.size() != count)
    fail(std::to_string(parameters.expert_biases.size()) + " expert biases, expected 0 or " + std::to_string(count));
  if (parameters.gate_weight == nullptr) fail("gate.weight is null");

  const DType dtype = parameters.dtype;
  const bool bias = !parameters.expert_biases.empty() && parameters.expert_biases[0] != nullptr;
  BlockTensors tensors;
  tensors.router.weight = memory_tensor("gate.weight", parameters.gate_weight, dtype, {num_experts, input_dim});
  if (parameters.gate_bias != nullptr)
    tensors.router.bias = memory_tensor("gate.bias", parameters.gate_bias, dtype, {num_experts});
  for (std::size_t e = 0; e < count; ++e) {
    const std::string name = "experts." + std::to_string(e);
    if (parameters.expert_weights[e] == nullptr) fail(name + ".weight is null");
    ExpertTensors expert;
    expert.down =
        matrix_of(memory_tensor(name + ".weight", parameters.expert_weights[e], dtype, {output_dim, input_dim}));
    if (!parameters.expert_biases.empty()) {
      if ((parameters.expert_biases[e] != nullptr) != bias) fail("some expert biases are null and some are not");
      if (bias)
        expert.down_bias =
            matrix_of(memory_tensor(name + ".bias", parameters.expert_biases[e], dtype, {1, output_dim}));
    }
    tensors.experts.push_back(std::move(expert));
  }
  return MoeLayer(dense_config(num_experts, input_dim, output_dim, bias), tensors, options);
}

// Parameters in the order of the module's state_dict: experts.0.weight, experts.0.bias, ..., gate.weight, gate.bias.
// Each value is bound * (2 u - 1) with u the top 24 bits of a draw of std::mt19937_64 over 2^24, in float32: the
// engine's sequence is fixed by the standard, the standard's distributions are not.
MoeLayer draw(std::int64_t num_experts, std::int64_t input_dim, std::int64_t output_dim, std::uint64_t seed) {
  check_sizes(num_experts, input_dim, output_dim);
  const std::int64_t expert_size = checked_mul(output_dim, input_dim + 1, "expert size");
  const std::int64_t experts_size = checked_mul(num_experts, expert_size, "parameters");
  const std::int64_t gate_size = num_experts * (input_dim + 1);
  std::vector<float> values(static_cast<std::size_t>(experts_size + gate_size));
  std::mt19937_64 engine(seed);
  const float bound = 1.0f / std::sqrt(static_cast<float>(input_dim));
  for (float& value : values) value = bound * (2.0f * (static_cast<float>(engine() >> 40) * 0x1p-24f) - 1.0f);

  MoE::Parameters parameters;
  for (std::int64_t e = 0; e < num_experts; ++e) {
    const float* expert = values.data() + e * expert_size;
    parameters.expert_weights.push_back(expert);
    parameters.expert_biases.push_back(expert + output_dim * input_dim);
  }
  parameters.gate_weight = values.data() + experts_size;
  parameters.gate_bias = values.data() + experts_size + num_experts * input_dim;
  return build(num_experts, input_dim, output_dim, parameters, {});
}

}  // namespace

MoE::MoE(std::int64_t num_experts, std::int64_t input_dim, std::int64_t output_dim, std::uint64_t seed)
    : layer_(draw(num_experts, input_dim, output_dim, seed)) {}

MoE::MoE(std::int64_t num_experts, std::int64_t input_dim, std::int64_t output_dim, const Parameters& parameters,
         const LayerOptions& options)
    : layer_(build(num_experts, input_dim, output_dim, parameters, options)) {}

}  // namespace moekit
