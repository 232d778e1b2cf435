// SPDX-License-Identifier: Apache-2.0
#include <algorithm>
#include <stdexcept>
#include <string>

#include "backends/cuda/call.h"
#include "backends/cuda/host_params.h"
#include "backends/cuda/pack.h"

namespace moekit::cuda {
namespace {

template <class T>
const T* array_of(const DeviceMemory& memory) {
  return reinterpret_cast<const T*>(memory.data());
}

void copy_external(const Call& call, const RouteInputs& inputs, const RoutingView& routing) {
  ExternalParams p = {};
  p.from_ids = inputs.expert_ids;
  p.from_weights = inputs.weights;
  p.ids = routing.expert_ids;
  p.weights = routing.weights;
  p.bad_input = call.arrays.bad_input;
  p.slots = static_cast<int>(routing.tokens * routing.top_k);
  p.columns = static_cast<int>(call.block.config().router.columns());
  call.launch(KernelId::moekit_external_routing, blocks_for(p.slots, kRowThreads), 1, kRowThreads, 0, p);
}

// The router's input as float32 rows.
void prepare_input(const Call& call, const MatrixView& x) {
  const RouterConfig& config = call.block.config().router;
  const auto width = static_cast<int>(padded(x.cols));
  if (!config.in_rmsnorm && !call.block.router.in_scale && config.in_mult == 1.0) {
    PrepareParams p = {};
    p.x = x.data;
    p.row_stride = x.row_stride;
    p.from = element_of(x.dtype);
    p.to = Element::kFloat32;
    p.cols = static_cast<int>(x.cols);
    p.padded = width;
    p.out = call.arrays.router_input;
    p.out_stride = width;
    return call.launch(KernelId::moekit_prepare_rows, x.rows, 1, kRowThreads, 0, p);
  }
  RouterInputParams p = {};
  p.x = x.data;
  p.row_stride = x.row_stride;
  p.from = element_of(x.dtype);
  p.tokens = static_cast<int>(x.rows);
  p.cols = static_cast<int>(x.cols);
  p.padded = width;
  p.out = call.arrays.router_input;
  p.in_scale = array_of<float>(call.block.router.in_scale);
  p.in_eps = static_cast<float>(config.in_eps);
  p.in_mult = static_cast<float>(config.in_mult);
  p.rms_norm = config.in_rmsnorm;
  p.precision = config.matmul == Precision::kNative ? element_of(x.dtype) : Element::kFloat32;
  call.launch(KernelId::moekit_router_input, blocks_for(x.rows, kRowThreads / 32), 1, kRowThreads, 0, p);
}

// Logits are a product in float32 with one "expert" that every token visits.
void compute_logits(const Call& call, std::int64_t tokens) {
  const RouterConfig& config = call.block.config().router;
  const std::int64_t hidden = padded(call.block.config().expert.input), columns = padded(config.columns());
  GemmParams p = {};
  p.input = call.arrays.router_input;
  p.input_stride = hidden;
  p.uniform_rows = static_cast<int>(tokens);
  p.experts = 1;
  p.same_input = true;
  p.up = call.block.router.weight.data();
  p.k_steps = static_cast<int>(hidden / kStepColumns);
  p.row_tiles = static_cast<int>(columns / kTileRows);
  p.columns = static_cast<int>(config.columns());
  p.to = Element::kFloat32;
  p.out = call.arrays.logits;
  p.out_stride = columns;
  p.activation = no_activation();
  call.launch(KernelId::moekit_gemm_f32_plain, blocks_for(columns, 16),
              std::min<std::int64_t>(blocks_for(tokens, kSmallTile), kMaxGridY), kGemmThreads, 0, p);
}

// Warps of a block: as many as 48 KB of shared memory hold rows for, three words a column.
std::int64_t select_warps(std::int64_t columns) {
  return std::max<std::int64_t>(1, std::min<std::int64_t>(kSelectThreads / 32, (48 << 10) / (columns * 12 + 48)));
}

void select_experts(const Call& call, const MatrixView& x, const RouteInputs& inputs, const RoutingView& routing) {
  const RouterConfig& config = call.block.config().router;
  const PackedRouter& router = call.block.router;
  SelectParams p = select_params(config, x.dtype);
  p.logits = call.arrays.logits;
  p.logits_stride = static_cast<int>(padded(config.columns()));
  p.tokens = static_cast<int>(x.rows);
  p.bias = array_of<float>(router.bias);
  p.selection_bias = array_of<float>(router.selection_bias);
  p.per_expert_scale = array_of<float>(router.per_expert_scale);
  p.tid2eid = array_of<int>(router.tid2eid);
  p.token_ids = reinterpret_cast<const long long*>(inputs.token_ids);
  p.vocabulary = router.vocabulary;
  p.ids = routing.expert_ids;
  p.weights = routing.weights;
  p.bad_input = call.arrays.bad_input;
  const std::int64_t warps = select_warps(config.columns());
  const KernelId kernel = config.score == Score::kSparsemixer ? KernelId::moekit_sparsemixer : KernelId::moekit_select;
  call.launch(kernel, blocks_for(x.rows, warps), 1, static_cast<int>(32 * warps),
              3 * shared_array_bytes(warps * config.columns()), p);
}

bool may_meet_bad_input(const RouterConfig& config) { return config.source != RouterSource::kComputed; }

}  // namespace

void route(const Call& call, const MatrixView& x, const RouteInputs& inputs, const RoutingView& routing) {
  const RouterConfig& config = call.block.config().router;
  const DeviceContext& device = call.block.device;
  if (may_meet_bad_input(config))
    device.check(device.driver.memory_set(device_pointer(call.arrays.bad_input), 0, sizeof(int), call.scope.stream()),
                 "cuMemsetD8Async");
  if (config.source == RouterSource::kExternal) return copy_external(call, inputs, routing);
  prepare_input(call, x);
  compute_logits(call, x.rows);
  select_experts(call, x, inputs, routing);
}

void report_bad_input(const Call& call, const RouterConfig& config) {
  if (!may_meet_bad_input(config) || !call.scope.synchronous()) return;
  const DeviceContext& device = call.block.device;
  int bad = 0;
  device.check(device.driver.copy_to_host(&bad, device_pointer(call.arrays.bad_input), sizeof bad, call.scope.stream()),
               "cuMemcpyDtoHAsync");
  device.check(device.driver.stream_synchronize(call.scope.stream()), "cuStreamSynchronize");
  if (bad == 0) return;
  const std::int64_t at = bad - 1;
  if (config.source == RouterSource::kHashTable)
    throw std::invalid_argument("[route] the token id at row " + std::to_string(at) + " is not in 0 .. " +
                                std::to_string(call.block.router.vocabulary - 1));
  throw std::invalid_argument("[route] the expert id at row " + std::to_string(at / config.top_k) + ", column " +
                              std::to_string(at % config.top_k) + " is not in -1 .. " +
                              std::to_string(config.columns() - 1) + " (-1 skips the slot)");
}

}  // namespace moekit::cuda
