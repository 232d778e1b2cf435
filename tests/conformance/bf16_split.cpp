// SPDX-License-Identifier: Apache-2.0
#include "conformance/bf16_split.h"

namespace moekit::conformance {
namespace {

MatrixRef matrix(std::int64_t rows, std::int64_t cols, std::int64_t expert, const Values& value) {
  const auto owner = std::make_shared<Matrix>(rows, cols, DType::kFloat32);
  for (std::int64_t r = 0; r < rows; ++r)
    for (std::int64_t c = 0; c < cols; ++c) owner->set(r, c, value(r, c, expert));
  return matrix_of(memory_tensor("weights", owner->view().data, DType::kFloat32, {rows, cols}, owner));
}

LayerOptions with_parts() {
  LayerOptions options;
  options.bf16_split = true;
  return options;
}

}  // namespace

float number(Rng& rng) { return normal(rng) * (0.75f + 0.5f * uniform(rng)); }

BlockConfig config_of(std::int64_t experts, Activation act, const Size& size) {
  BlockConfig config;
  config.router.source = RouterSource::kExternal;
  config.router.num_experts = experts;
  config.router.top_k = 1;
  config.expert.input = size.input;
  config.expert.intermediate = act == Activation::kLinear ? 0 : size.intermediate;
  config.expert.output = size.output;
  config.expert.act = act;
  return config;
}

Inputs inputs_of(const BlockConfig& config, std::int64_t rows) {
  Inputs inputs;
  for (std::int64_t r = 0; r < rows; ++r) {
    inputs.expert_ids.push_back(static_cast<std::int32_t>(r % config.router.num_experts));
    inputs.weights.push_back(1.0f);
  }
  return inputs;
}

BlockTensors tensors_of(const BlockConfig& config, const Values& up, const Values& down) {
  BlockTensors tensors;
  const ExpertConfig& e = config.expert;
  for (std::int64_t i = 0; i < config.router.num_experts; ++i) {
    ExpertTensors& expert = tensors.experts.emplace_back();
    if (is_gated(e.act)) expert.gate = matrix(e.intermediate, e.input, i, up);
    if (e.act != Activation::kLinear) expert.up = matrix(e.intermediate, e.input, i, up);
    expert.down = matrix(e.output, e.act == Activation::kLinear ? e.input : e.intermediate, i, down);
  }
  return tensors;
}

Values random_weights(Rng& rng) {
  return [&rng](std::int64_t, std::int64_t, std::int64_t) { return 0.05f * number(rng); };
}

Matrix random_rows(Rng& rng, std::int64_t rows, std::int64_t cols) {
  Matrix x(rows, cols, DType::kFloat32);
  for (std::int64_t r = 0; r < rows; ++r)
    for (std::int64_t c = 0; c < cols; ++c) x.set(r, c, number(rng));
  return x;
}

Both::Both(const Target& target, const BlockConfig& config, const BlockTensors& tensors)
    : parts(make_layer(target, config, tensors, with_parts())),
      floats(make_layer(target, config, tensors, LayerOptions{})) {}

}  // namespace moekit::conformance
