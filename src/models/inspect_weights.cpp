// SPDX-License-Identifier: Apache-2.0
// What the weights of a block are, without reading them.
#include <cmath>

#include "layer/choose_formats.h"
#include "moekit/model.h"
#include "moekit/quantised.h"

namespace moekit {
namespace {

constexpr struct {
  const char* name;
  MatrixRef ExpertTensors::*matrix;
  MatrixRef ExpertTensors::*bias;
} kProjections[] = {
    {"gate", &ExpertTensors::gate, &ExpertTensors::gate_bias},
    {"up", &ExpertTensors::up, &ExpertTensors::up_bias},
    {"down", &ExpertTensors::down, &ExpertTensors::down_bias},
};

struct Sum {
  double bytes = 0.0, weights = 0.0;
};

Sum sum_of(const std::vector<ExpertTensors>& experts, std::size_t count) {
  Sum sum;
  for (std::size_t e = 0; e < count; ++e)
    for (const auto& projection : kProjections) {
      const MatrixRef& matrix = experts[e].*projection.matrix;
      sum.bytes += stored_bytes(matrix) + stored_bytes(experts[e].*projection.bias);
      sum.weights += static_cast<double>(matrix.rows) * static_cast<double>(matrix.cols);
    }
  return sum;
}

void add_parts(const std::string& prefix, const std::vector<ExpertTensors>& experts, WeightsInfo& info) {
  if (experts.empty()) return;
  for (const auto& projection : kProjections) {
    const MatrixRef& matrix = experts.front().*projection.matrix;
    if (!matrix) continue;
    const double weights = static_cast<double>(matrix.rows) * static_cast<double>(matrix.cols);
    const std::string name(matrix.quant ? matrix.quant->format.name : dtype_name(matrix.tensor.dtype));
    info.parts.push_back({prefix + projection.name, matrix.quant ? describe(matrix.quant->format) : name,
                          8.0 * stored_bytes(matrix) / weights});
    if ((", " + info.dtype + ", ").find(", " + name + ", ") == std::string::npos)
      info.dtype += (info.dtype.empty() ? "" : ", ") + name;
  }
}

std::int64_t whole(double bytes) { return std::llround(bytes); }

}  // namespace

WeightsInfo inspect_weights(const LoadedBlock& block) {
  choose_formats(block.config, block.tensors, {});  // throws where experts differ
  WeightsInfo info;
  add_parts("", block.tensors.experts, info);
  add_parts("shared ", block.tensors.shared, info);
  const Sum routed = sum_of(block.tensors.experts, block.tensors.experts.size());
  const Sum shared = sum_of(block.tensors.shared, block.tensors.shared.size());
  info.expert_bytes = whole(sum_of(block.tensors.experts, 1).bytes);
  info.routed_bytes = whole(routed.bytes);
  info.shared_bytes = whole(shared.bytes);
  info.bits_per_weight = 8.0 * (routed.bytes + shared.bytes) / (routed.weights + shared.weights);
  info.notes = block.tensors.notes;
  return info;
}

}  // namespace moekit
