// SPDX-License-Identifier: Apache-2.0
#include "backends/cpu/route.h"

#include <algorithm>
#include <atomic>
#include <numeric>

#include "backends/cpu/linear.h"
#include "core/float_convert.h"
#include "core/thread_pool.h"

namespace moekit::cpu {
namespace {

// Tokens whose rows of logits are in memory at once.
constexpr std::int64_t kTokenTile = 4096;

// f(x) of every row in float32; returns false, and writes nothing, when f is the identity.
bool transform(const CpuBlock& block, const MatrixView& x, float* out, float* row) {
  const RouterConfig& config = block.config().router;
  for (std::int64_t t = 0; t < x.rows; ++t) {
    load_as_float(x.data, x.dtype, t * x.row_stride, 1, x.cols, row);
    if (!router_input(config, block.tables, row, x.cols, x.dtype, out + t * x.cols)) return false;
  }
  return true;
}

bool transforms(const RouterConfig& config, const RouterTables& tables) {
  return config.in_rmsnorm || config.in_mult != 1.0 || !tables.in_scale.empty();
}

void route_tile(const CpuBlock& block, const MatrixView& x, const std::int64_t* token_ids, const RoutingView& routing,
                CpuWorkspace& workspace) {
  const RouterConfig& config = block.config().router;
  const bool transformed = transforms(config, block.tables);
  const bool bf16 = x.dtype == DType::kBFloat16 && block.router_bf16 && !transformed;
  const PackedMatrix& matrix = bf16 ? block.router_bf16 : block.router_f32;
  const double columns = static_cast<double>(matrix.panels * kPanelColumns);
  const int threads = worthwhile_threads(static_cast<double>(x.rows) * columns * static_cast<double>(x.cols),
                                         static_cast<double>(matrix.storage.bytes()));
  const std::size_t inputs = transformed ? static_cast<std::size_t>((x.rows + 1) * x.cols + 32) * sizeof(float) : 0;
  workspace.router_arena.reset(linear_bytes(block.chosen, matrix, x.rows, threads) + inputs);
  MatrixView in = x;
  if (transformed) {
    float* row = workspace.router_arena.take<float>(x.cols);
    float* rows = workspace.router_arena.take<float>(x.rows * x.cols);
    if (transform(block, x, rows, row)) in = {rows, DType::kFloat32, x.rows, x.cols, x.cols, 1};
  }
  float* logits = linear(block.chosen, matrix, in, workspace.router_arena, threads);
  const std::int64_t stride = matrix.panels * kPanelColumns;

  if (block.plain_softmax(x.dtype)) {
    for (std::int64_t t = 0; t < x.rows; ++t)
      std::iota(routing.expert_ids + t * config.top_k, routing.expert_ids + (t + 1) * config.top_k, 0);
    const float* bias = block.softmax_bias.empty() ? nullptr : block.softmax_bias.data();
    return block.chosen.table->softmax({logits, stride, bias, x.rows, config.top_k, routing.weights});
  }

  // Selection takes about 10 ns a column, the time of 1000 multiply-adds.
  const int pickers = worthwhile_threads(static_cast<double>(x.rows * config.columns()) * 1000.0, 0.0);
  if (workspace.route.size() < static_cast<std::size_t>(pickers))
    workspace.route.resize(static_cast<std::size_t>(pickers));
  for (RouteScratch& scratch : workspace.route) scratch.reserve(config);  // here, where a failure can be reported
  constexpr std::int64_t kGrain = 16;
  std::atomic<std::int64_t> next{0};
  run_parallel(pickers, [&](Team&, int thread) {
    const FloatScope scope;
    RouteScratch& scratch = workspace.route[static_cast<std::size_t>(thread)];
    for (std::int64_t first; (first = next.fetch_add(kGrain, std::memory_order_relaxed)) < x.rows;)
      for (std::int64_t t = first; t < std::min(first + kGrain, x.rows); ++t) {
        const std::int32_t* forced = config.source == RouterSource::kHashTable
                                         ? block.tables.tid2eid.data() + token_ids[t] * config.top_k
                                         : nullptr;
        select(config, block.tables, logits + t * stride, x.dtype, forced, scratch,
               routing.expert_ids + t * config.top_k, routing.weights + t * config.top_k);
      }
  });
}

}  // namespace

void route(const CpuBlock& block, const MatrixView& x, const RouteInputs& inputs, const RoutingView& routing,
           CpuWorkspace& workspace) {
  const std::int64_t k = block.config().router.top_k;
  if (block.config().router.source == RouterSource::kExternal) {
    std::copy_n(inputs.expert_ids, x.rows * k, routing.expert_ids);
    std::copy_n(inputs.weights, x.rows * k, routing.weights);
    return;
  }
  const std::int64_t size = static_cast<std::int64_t>(dtype_size(x.dtype));
  for (std::int64_t t = 0; t < x.rows; t += kTokenTile) {
    MatrixView tile = x;
    tile.data = static_cast<const std::byte*>(x.data) + t * x.row_stride * size;
    tile.rows = std::min(kTokenTile, x.rows - t);
    route_tile(block, tile, inputs.token_ids != nullptr ? inputs.token_ids + t : nullptr,
               {tile.rows, k, routing.expert_ids + t * k, routing.weights + t * k}, workspace);
  }
}

}  // namespace moekit::cpu
