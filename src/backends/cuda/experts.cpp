// SPDX-License-Identifier: Apache-2.0
// The launches of a block behind its router.
#include <algorithm>
#include <vector>

#include "backends/cuda/call.h"
#include "backends/cuda/host_params.h"
#include "backends/cuda/pack.h"
#include "backends/cuda/products.h"
#include "moekit/error.h"

namespace moekit::cuda {
namespace {

bool uses_float32(const PackedExperts& experts) {
  return experts.first().format.code == Code::kFloat32 || experts.down.format.code == Code::kFloat32;
}

bool uses_quantised(const PackedExperts& experts) {
  return !experts.first().format.plain() || !experts.down.format.plain();
}

// Rows of a tile: the large one where experts have enough rows on average; both give the same bits. Products in float32
// have one size. A product that could take more rows than another of the same experts takes fewer.
int choose_tile(const PackedExperts& experts, std::int64_t rows) {
  constexpr std::int64_t kEnough = 16;  // beyond two small tiles an expert, one large one reads its weights once
  if (uses_float32(experts) || rows <= kEnough * experts.count) return kSmallTile;
  return uses_quantised(experts) ? kLargeQuantTile : kLargeTile;
}

// x as padded rows of the element that the experts' first product reads; `weighted`: round(w x) in sorted order.
void prepare(const Call& call, const MatrixView& x, const PackedExperts& experts, const RoutingView* weighted) {
  const Element to = experts.first().input_element();
  PrepareParams p = {};
  p.x = x.data;
  p.row_stride = x.row_stride;
  p.from = element_of(x.dtype);
  p.to = to;
  p.cols = static_cast<int>(x.cols);
  p.padded = static_cast<int>(padded(x.cols));
  p.out = to == Element::kFloat32 ? static_cast<void*>(call.arrays.input_f32) : call.arrays.input_short;
  p.out_stride = p.padded;
  std::int64_t rows = x.rows;
  if (weighted != nullptr) {
    p.slot_of_row = call.arrays.slot_of_row;
    p.row_count = call.arrays.offsets + experts.count;
    p.weights = weighted->weights;
    p.top_k = static_cast<int>(weighted->top_k);
    rows = weighted->tokens * weighted->top_k;
  }
  call.launch(KernelId::moekit_prepare_rows, rows, 1, kRowThreads, 0, p);
}

void permute(const Call& call, const RoutingView& routing, int experts, int tile_rows) {
  const Arrays& a = call.arrays;
  PermuteParams p = {};
  p.ids = routing.expert_ids;
  p.slots = static_cast<int>(routing.tokens * routing.top_k);
  p.top_k = static_cast<int>(routing.top_k);
  p.experts = experts;
  p.tile_rows = tile_rows;
  p.counts = a.counts;
  p.offsets = a.offsets;
  p.slot_of_row = a.slot_of_row;
  p.token_of_row = a.token_of_row;
  p.row_of_slot = a.row_of_slot;
  p.tiles = a.tiles;
  p.tile_count = a.tile_count;
  const std::size_t counters = shared_array_bytes(experts), sums = shared_array_bytes(kScanWords);
  const int threads = static_cast<int>(std::min<std::int64_t>(kScanThreads, blocks_for(experts, 32) * 32));
  if (p.slots <= kSmallSlots) {
    p.chunks = 1;
    return call.launch(KernelId::moekit_permute_small, 1, 1, threads, counters + sums, p);
  }
  p.chunks = static_cast<int>(blocks_for(p.slots, kChunkSlots));
  call.launch(KernelId::moekit_count_slots, p.chunks, 1, 32, counters, p);
  call.launch(KernelId::moekit_scan_experts, 1, 1, threads, sums, p);
  call.launch(KernelId::moekit_place_slots, p.chunks, 1, 32, counters, p);
}

void run_shared(const Call& call, const MatrixView& x) {
  const PackedExperts& shared = call.block.shared;
  if (shared.count == 0) return;
  prepare(call, x, shared, nullptr);
  Rows rows;
  rows.count = shared.count * x.rows;
  rows.tile_rows = choose_tile(shared, rows.count);
  rows.tiles = shared.count * blocks_for(x.rows, rows.tile_rows);
  rows.uniform = static_cast<int>(x.rows);
  rows.hidden = call.arrays.shared_hidden;
  rows.out = call.arrays.shared;
  multiply(call, shared, rows);
  if (!call.block.shared_gate) return;
  SharedGateParams p = {};
  p.x = x.data;
  p.row_stride = x.row_stride;
  p.from = element_of(x.dtype);
  p.tokens = static_cast<int>(x.rows);
  p.cols = static_cast<int>(x.cols);
  p.weight = reinterpret_cast<const float*>(call.block.shared_gate.data());
  p.out = call.arrays.shared_gate;
  call.launch(KernelId::moekit_shared_gate, blocks_for(x.rows, kRowThreads / 32), 1, kRowThreads, 0, p);
}

void run_routed(const Call& call, const MatrixView& x, const RoutingView& routing) {
  const PackedExperts& routed = call.block.routed;
  const bool weighted = call.block.config().router.apply_at == ApplyAt::kInput;
  Rows rows;
  rows.count = routing.tokens * routing.top_k;
  rows.tile_rows = choose_tile(routed, rows.count);
  rows.tiles = rows.count / rows.tile_rows + std::min<std::int64_t>(routed.count, rows.count);
  permute(call, routing, routed.count, rows.tile_rows);
  prepare(call, x, routed, weighted ? &routing : nullptr);
  rows.input_row = weighted ? nullptr : call.arrays.token_of_row;
  rows.hidden = call.arrays.hidden;
  rows.out = call.arrays.routed;
  multiply(call, routed, rows);
}

void finalize(const Call& call, const MatrixView& x, const RoutingView& routing, const MutableMatrixView& y) {
  const BlockConfig& config = call.block.config();
  const Arrays& a = call.arrays;
  FinalizeParams p = {};
  p.routed = a.routed;
  p.routed_stride = padded(config.expert.output);
  p.ids = routing.expert_ids;
  p.weights = routing.weights;
  p.row_of_slot = a.row_of_slot;
  p.x = x.data;
  p.x_stride = x.row_stride;
  p.x_element = element_of(x.dtype);
  p.tokens = static_cast<int>(x.rows);
  p.top_k = static_cast<int>(routing.top_k);
  p.experts = call.block.routed.count;
  p.columns = static_cast<int>(config.router.columns());
  p.shared = a.shared;
  p.shared_gate = call.block.shared_gate ? a.shared_gate : nullptr;
  p.shared_count = call.block.shared.count;
  const bool on_sum = config.router.scale_at == ScaleAt::kOnRoutedSum;
  p.routed_scale = on_sum ? static_cast<float>(config.router.scale) : 1.0f;
  p.shared_scale = config.shared.gate == SharedGate::kAverage ? 0.5f : 1.0f;
  p.out_scale = static_cast<float>(config.out_scale);
  p.weighted_input = config.router.apply_at == ApplyAt::kInput;
  p.y = y.data;
  p.y_stride = y.row_stride;
  p.y_element = element_of(y.dtype);
  p.output = static_cast<int>(y.cols);
  call.launch(KernelId::moekit_finalize, x.rows, 1, kRowThreads, 0, p);
}

}  // namespace

void run_experts(const Call& call, const MatrixView& x, const RoutingView& routing, const MutableMatrixView& y) {
  run_shared(call, x);  // first: both sets may prepare x into the same array, and the routed ones may weigh it
  run_routed(call, x, routing);
  finalize(call, x, routing, y);
}

void run_grouped(const Call& call, const MatrixView& x, const std::int64_t* offsets, const MutableMatrixView& out) {
  const PackedExperts& routed = call.block.routed;
  const DeviceContext& device = call.block.device;
  if (call.scope.capturing())
    throw DeviceError("[cuda] grouped rows take their offsets from the host, which a stream under capture cannot");
  const int tile_rows = choose_tile(routed, x.rows);
  std::vector<Tile> tiles;
  for (int e = 0; e < routed.count; ++e)
    for (std::int64_t row = offsets[e]; row < offsets[e + 1]; row += tile_rows)
      tiles.push_back(
          {e, static_cast<int>(row), static_cast<int>(std::min<std::int64_t>(tile_rows, offsets[e + 1] - row))});
  const auto count = static_cast<int>(tiles.size());
  const auto upload = [&](void* to, const void* from, std::size_t bytes) {
    device.check(device.driver.copy_to_device(device_pointer(to), from, bytes, call.scope.stream()),
                 "cuMemcpyHtoDAsync");
  };
  upload(call.arrays.tiles, tiles.data(), tiles.size() * sizeof(Tile));
  upload(call.arrays.tile_count, &count, sizeof count);
  // Pageable memory: the driver has taken it before it returns, but only a wait makes that certain for every driver.
  device.check(device.driver.stream_synchronize(call.scope.stream()), "cuStreamSynchronize");

  prepare(call, x, routed, nullptr);
  Rows rows;
  rows.count = x.rows;
  rows.tiles = count;
  rows.tile_rows = tile_rows;
  rows.hidden = call.arrays.hidden;
  rows.out = call.arrays.routed;
  rows.host_offsets = offsets;
  multiply(call, routed, rows);
  PrepareParams p = {};
  p.x = rows.out;
  p.row_stride = padded(out.cols);
  p.cols = p.padded = static_cast<int>(out.cols);
  p.from = p.to = Element::kFloat32;
  p.out = out.data;
  p.out_stride = out.row_stride;
  call.launch(KernelId::moekit_prepare_rows, x.rows, 1, kRowThreads, 0, p);
}

}  // namespace moekit::cuda
