// SPDX-License-Identifier: Apache-2.0
#include "backends/cpu/schedule.h"

#include <algorithm>
#include <atomic>

#include "backends/cpu/expert_cache.h"
#include "backends/cpu/linear.h"
#include "backends/cpu/tile_run.h"
#include "core/cpu_features.h"
#include "core/elementary.h"
#include "core/thread_pool.h"

namespace moekit::cpu {
namespace {

// Tokens that go through the experts at once. Weights are read once a tile, so it is large; it bounds the workspace
// (at 8192 tokens, top 8 and intermediate 768 in bfloat16 the rows between the phases take 100 MB).
constexpr std::int64_t kTokenTile = 8192;
// Threads work on tokens of their own, without barriers, when each gets at least this many and all weights fit in half
// of a second-level cache.
constexpr std::int64_t kOwnTokens = 64;

MatrixView rows_of(const MatrixView& x, std::int64_t first, std::int64_t rows) {
  MatrixView part = x;
  part.data =
      static_cast<const std::byte*>(x.data) + first * x.row_stride * static_cast<std::int64_t>(dtype_size(x.dtype));
  part.rows = rows;
  return part;
}

MutableMatrixView rows_of(const MutableMatrixView& y, std::int64_t first, std::int64_t rows) {
  MutableMatrixView part = y;
  part.data = static_cast<std::byte*>(y.data) + first * y.row_stride * static_cast<std::int64_t>(dtype_size(y.dtype));
  part.rows = rows;
  return part;
}

// Factors of the routed and of the shared sum that need not be applied apart: they scale the weights.
struct Factors {
  float routed = 1.0f, shared = 1.0f;
};
Factors factors_of(const BlockConfig& config) {
  double routed = config.out_scale, shared = config.out_scale;
  if (config.router.scale_at == ScaleAt::kOnRoutedSum) routed *= config.router.scale;
  if (config.shared.count != 0 && config.shared.gate == SharedGate::kAverage) routed *= 0.5, shared *= 0.5;
  return {static_cast<float>(routed), static_cast<float>(shared)};
}

// Weights of the shared experts, one a token, or null for 1: the arena's memory lives until the next linear().
const float* shared_weights(const CpuBlock& block, const MatrixView& x, float factor, CpuWorkspace& ws, int threads) {
  if (block.config().shared.gate != SharedGate::kSigmoid && factor == 1.0f) return nullptr;
  const std::size_t bytes = static_cast<std::size_t>(x.rows) * sizeof(float) + 64;
  if (block.config().shared.gate != SharedGate::kSigmoid) {
    ws.router_arena.reset(bytes);
    float* weights = ws.router_arena.take<float>(x.rows);
    std::fill_n(weights, x.rows, factor);
    return weights;
  }
  ws.router_arena.reset(bytes + linear_bytes(block.chosen, block.shared_gate, x.rows, threads));
  float* weights = ws.router_arena.take<float>(x.rows);
  const float* logits = linear(block.chosen, block.shared_gate, x, ws.router_arena, threads);
  for (std::int64_t t = 0; t < x.rows; ++t)
    weights[t] = factor * elementary::sigmoid(logits[t * block.shared_gate.panels * kPanelColumns]);
  return weights;
}

// Every expert sees every token in order: no permutation, only the weights by expert.
void list_all(const CpuBlock& block, const RoutingView& routing, float factor, CpuWorkspace& ws) {
  const std::int64_t experts = block.config().router.num_experts, tokens = routing.tokens;
  TokenPermutation& permutation = ws.permutation;
  permutation.offsets.assign(static_cast<std::size_t>(experts) + 1, 0);
  permutation.weight.resize(static_cast<std::size_t>(experts * tokens));
  float* weight = permutation.weight.data();
  for (std::int64_t e = 0; e < experts; ++e, weight += tokens) {
    for (std::int64_t t = 0; t < tokens; ++t) weight[t] = factor * routing.weights[t * experts + e];
    ws.active.push_back(
        {&block.routed, &block.routed.experts[static_cast<std::size_t>(e)], nullptr, weight, nullptr, tokens, 0});
  }
}

void list_chosen(const CpuBlock& block, const RoutingView& routing, float factor, CpuWorkspace& ws) {
  const RouterConfig& router = block.config().router;
  TokenPermutation& permutation = ws.permutation;
  permute(routing, router.columns(), permutation);
  const bool at_input = router.apply_at == ApplyAt::kInput;
  if (factor != 1.0f && !at_input)
    for (float& w : permutation.weight) w *= factor;
  for (std::int64_t e = 0; e < router.num_experts; ++e) {
    const std::int64_t first = permutation.offsets[static_cast<std::size_t>(e)];
    const std::int64_t rows = permutation.offsets[static_cast<std::size_t>(e) + 1] - first;
    if (rows == 0) continue;
    const float* weight = permutation.weight.data() + first;
    ws.active.push_back({&block.routed, &block.routed.experts[static_cast<std::size_t>(e)],
                         permutation.token.data() + first, at_input ? nullptr : weight, at_input ? weight : nullptr,
                         rows, 0});
  }
}

void list_experts(const CpuBlock& block, const MatrixView& x, const RoutingView& routing, CpuWorkspace& ws,
                  int threads) {
  const BlockConfig& config = block.config();
  const Factors factors = factors_of(config);
  ws.active.clear();
  if (config.router.all_experts) {
    list_all(block, routing, factors.routed, ws);
  } else {
    list_chosen(block, routing, factors.routed, ws);
  }
  if (config.shared.count == 0 || x.rows == 0) return;
  const float* weights = shared_weights(block, x, factors.shared, ws, threads);
  for (const PackedExpert& expert : block.shared.experts)
    ws.active.push_back({&block.shared, &expert, nullptr, weights, nullptr, x.rows, 0});
}

// ws.active over the rows; rows [first_identity, end_identity) of the permutation are the tokens' own. Experts that lie
// in a file come in waves, in the order and with the sums of a single run, so with its bits.
void run_active(const CpuBlock& block, const MatrixView& x, const MutableMatrixView& y, CpuWorkspace& ws, int threads,
                std::int64_t first_identity, std::int64_t end_identity) {
  const auto run_part = [&](const Part& part) {
    TileRun run(block, x, y, ws, threads, part);
    if (part.last) run.identity_rows(first_identity, end_identity);
    run_parallel(run.threads(), [&run](Team& team, int thread) { run(team, thread); });
  };
  if (block.cache == nullptr) return run_part({});
  ExpertCache& cache = *block.cache;
  const auto lock = cache.lock();
  ws.all = ws.active;
  ws.needed.clear();
  for (const ActiveExpert& active : ws.all)
    if (active.group == &block.routed) ws.needed.push_back(active.expert - block.routed.experts.data());
  const auto count = static_cast<std::int64_t>(ws.needed.size());
  cache.begin(ws.needed.data(), count);
  std::int64_t at = 0;
  do {
    const std::int64_t end = cache.wave(ws.needed.data(), at, count);
    const bool last = end == count;
    // The shared experts come after the routed ones and are always there.
    ws.active.assign(ws.all.begin() + at, last ? ws.all.end() : ws.all.begin() + end);
    for (std::int64_t i = at; i < end; ++i)
      ws.active[static_cast<std::size_t>(i - at)].expert = &cache.expert(ws.needed[static_cast<std::size_t>(i)]);
    run_part({at == 0, last});
    at = end;
  } while (at < count);
}

void run_tile(const CpuBlock& block, const MatrixView& x, const RoutingView& routing, const MutableMatrixView& y,
              CpuWorkspace& ws, int threads) {
  list_experts(block, x, routing, ws, threads);
  const std::int64_t experts = block.config().router.num_experts;
  run_active(block, x, y, ws, threads, ws.permutation.offsets[static_cast<std::size_t>(experts)],
             ws.permutation.offsets.back());
}

}  // namespace

void run_experts(const CpuBlock& block, const MatrixView& x, const RoutingView& routing, const MutableMatrixView& y,
                 CpuWorkspace& ws) {
  const std::int64_t k = routing.top_k;
  const auto tile = [&](std::int64_t first, std::int64_t rows, CpuWorkspace& workspace, int threads) {
    run_tile(block, rows_of(x, first, rows), {rows, k, routing.expert_ids + first * k, routing.weights + first * k},
             rows_of(y, first, rows), workspace, threads);
  };
  const int threads = num_threads();
  const bool small = block.cache == nullptr && block.bytes() < l2_cache_bytes() / 2;
  if (threads == 1 || !small || x.rows < kOwnTokens * threads) {
    for (std::int64_t t = 0; t < x.rows; t += kTokenTile) tile(t, std::min(kTokenTile, x.rows - t), ws, threads);
    return;
  }
  // A piece is a quarter of a thread's tokens, for balance, but not so large that its rows leave the cache.
  const std::int64_t piece = std::clamp<std::int64_t>(round_up(ceil_div(x.rows, threads * 4), 32), 32, 1024);
  while (ws.children.size() < static_cast<std::size_t>(threads))
    ws.children.push_back(std::make_unique<CpuWorkspace>());
  std::atomic<std::int64_t> next{0};
  run_throwing(threads, [&](Team&, int thread) {
    for (std::int64_t first; (first = next.fetch_add(piece, std::memory_order_relaxed)) < x.rows;)
      tile(first, std::min(piece, x.rows - first), *ws.children[static_cast<std::size_t>(thread)], 1);
  });
}

void run_grouped(const CpuBlock& block, const MatrixView& rows, const std::int64_t* offsets,
                 const MutableMatrixView& out, CpuWorkspace& ws) {
  ws.active.clear();
  TokenPermutation& permutation = ws.permutation;
  permutation.token.resize(static_cast<std::size_t>(rows.rows));
  for (std::int64_t r = 0; r < rows.rows; ++r)
    permutation.token[static_cast<std::size_t>(r)] = static_cast<std::int32_t>(r);
  for (std::int64_t e = 0; e < block.config().router.num_experts; ++e)
    if (offsets[e + 1] > offsets[e])
      ws.active.push_back({&block.routed, &block.routed.experts[static_cast<std::size_t>(e)],
                           permutation.token.data() + offsets[e], nullptr, nullptr, offsets[e + 1] - offsets[e], 0});
  run_active(block, rows, out, ws, num_threads(), 0, 0);
}

std::size_t experts_workspace_bytes(const CpuBlock& block, std::int64_t tokens) {
  const BlockConfig& config = block.config();
  const std::int64_t tile = std::min(tokens, kTokenTile), k = std::min(config.router.top_k, config.router.num_experts);
  // Every expert may end on a partial block of rows.
  const std::int64_t rows = tile * k + config.router.num_experts * kBlockRows;
  // Of a row: A of the down-projection, and the hidden activations where they are apart.
  const auto between = [&](const ExpertGroup& group) {
    return block.row_bytes(group.down) + (block.remakes_hidden(group) ? block.hidden_segments(group) * kLineBytes : 0);
  };
  std::int64_t bytes = rows * between(block.routed) + tile * block.routed.down.panels * kPanelColumns * 4;
  if (config.shared.count != 0) bytes += config.shared.count * round_up(tile, kBlockRows) * between(block.shared);
  const std::int64_t row_bytes = std::max(block.row_bytes(block.routed.up), block.row_bytes(block.shared.up));
  const std::int64_t chunk = chunk_rows(tile, row_bytes);
  const std::int64_t beside = std::max(block.float_row_bytes(block.routed.up), block.float_row_bytes(block.shared.up));
  bytes += num_threads() * (chunk * (row_bytes + beside) + accumulator_floats(chunk) * 4);
  return static_cast<std::size_t>(bytes);
}

}  // namespace moekit::cpu
