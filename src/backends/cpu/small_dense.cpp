// SPDX-License-Identifier: Apache-2.0
#include "backends/cpu/small_dense.h"

#include <algorithm>
#include <numeric>

#include "backends/cpu/linear.h"

namespace moekit::cpu {
namespace {

// One vector of output columns an expert, and logits and outputs of a token within two pages.
constexpr std::int64_t kMaxOutput = 16;
constexpr std::int64_t kMaxColumns = 2048;
// Tokens swept at once: their columns stay in the first-level cache until they are combined.
constexpr std::int64_t kTokenTile = 256;

}  // namespace

bool is_small_dense(const CpuBlock& block) {
  const BlockConfig& config = block.config();
  const auto plain = [&](DType dtype) { return all_plain(block.formats(), dtype) && block.plain_softmax(dtype); };
  return (plain(DType::kFloat32) || plain(DType::kBFloat16)) && config.expert.act == Activation::kLinear &&
         config.shared.count == 0 && config.expert.output <= kMaxOutput &&
         config.router.num_experts * (1 + config.expert.output) <= kMaxColumns - kPanelColumns;
}

PackedMatrix pack_small_dense(const CpuBlock& block, const RouterTensors& router) {
  const ExpertConfig& expert = block.config().expert;
  const std::int64_t experts = block.config().router.num_experts, count = experts * (1 + expert.output);
  const DType dtype = block.routed.down.weight;  // unpack() gives the weights as they are held
  std::vector<float> rows = read_float32(router.weight);
  rows.resize(static_cast<std::size_t>(count * expert.input));
  std::vector<std::byte> weight(static_cast<std::size_t>(expert.output * expert.input) * dtype_size(dtype));
  for (std::int64_t e = 0; e < experts; ++e) {
    ExpertViews views;
    views.down = {weight.data(), dtype, expert.output, expert.input, expert.input};
    block.unpack(e, false, views);
    const std::vector<float> values =
        read_float32(memory_tensor("expert", weight.data(), dtype, {expert.output, expert.input}));
    std::copy(values.begin(), values.end(), rows.begin() + (experts + e * expert.output) * expert.input);
  }
  return pack_matrix(matrix_of(memory_tensor("gate and experts", rows.data(), DType::kFloat32, {count, expert.input})),
                     DType::kFloat32);
}

std::vector<float> small_dense_bias(const CpuBlock& block) {
  const ExpertConfig& expert = block.config().expert;
  if (block.tables.bias.empty() && !expert.down_bias) return {};
  const std::int64_t experts = block.config().router.num_experts;
  std::vector<float> bias = block.tables.bias;
  // The kernel reads whole vectors, the last of which may begin at the last column.
  bias.resize(static_cast<std::size_t>(block.small_dense.panels * kPanelColumns + kMaxOutput));
  for (std::int64_t e = 0; expert.down_bias && e < experts; ++e) {
    ExpertViews views;
    views.down_bias = {bias.data() + experts + e * expert.output, DType::kFloat32, 1, expert.output, expert.output};
    block.unpack(e, false, views);
  }
  return bias;
}

void run_small_dense(const CpuBlock& block, const MatrixView& x, const RoutingView& routing, const MutableMatrixView& y,
                     CpuWorkspace& ws) {
  const FloatScope scope;
  const std::int64_t experts = routing.top_k, stride = block.small_dense.panels * kPanelColumns;
  const std::int64_t output = block.config().expert.output, x_size = static_cast<std::int64_t>(dtype_size(x.dtype));
  for (std::int64_t first = 0; first < x.rows; first += kTokenTile) {
    MatrixView tile = x;
    tile.data = static_cast<const std::byte*>(x.data) + first * x.row_stride * x_size;
    tile.rows = std::min(kTokenTile, x.rows - first);
    ws.arena.reset(linear_bytes(block.chosen, block.small_dense, tile.rows, 1));
    SmallDenseArgs args;
    args.columns = linear(block.chosen, block.small_dense, tile, ws.arena, 1);
    args.stride = stride;
    args.bias = block.small_dense_bias.empty() ? nullptr : block.small_dense_bias.data();
    args.rows = tile.rows;
    args.experts = experts;
    args.output = output;
    args.weights = routing.weights + first * experts;
    args.y = static_cast<std::byte*>(y.data) + first * y.row_stride * static_cast<std::int64_t>(dtype_size(y.dtype));
    args.dtype = y.dtype;
    args.y_stride = y.row_stride;
    args.factor = static_cast<float>(block.config().out_scale * (block.config().router.scale_at == ScaleAt::kOnRoutedSum
                                                                     ? block.config().router.scale
                                                                     : 1.0));
    block.chosen.table->small_dense(args);
    for (std::int64_t t = 0; t < tile.rows; ++t) {
      std::int32_t* ids = routing.expert_ids + (first + t) * experts;
      std::iota(ids, ids + experts, 0);
    }
  }
}

}  // namespace moekit::cpu
