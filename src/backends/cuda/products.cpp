// SPDX-License-Identifier: Apache-2.0
#include "backends/cuda/products.h"

#include <algorithm>

#include "backends/cuda/blas_products.h"
#include "backends/cuda/host_params.h"
#include "backends/cuda/pack.h"

namespace moekit::cuda {

GemmParams input_of(const Call& call, const PackedExperts& experts, const Rows& rows) {
  GemmParams p = {};
  const bool float32 = experts.first().input_element() == Element::kFloat32;
  p.input = float32 ? static_cast<const void*>(call.arrays.input_f32) : call.arrays.input_short;
  p.input_stride = padded(experts.first().cols);
  p.input_row = rows.input_row;
  p.tiles = call.arrays.tiles;
  p.tile_count = call.arrays.tile_count;
  p.uniform_rows = rows.uniform;
  p.same_input = rows.uniform > 0;
  p.experts = experts.count;
  return p;
}

std::int64_t tile_grid(const Rows& rows) { return std::min<std::int64_t>(rows.tiles, kMaxGridY); }

void reorder(const Call& call, const PackedProjection& projection, const Rows& rows, GemmParams& p) {
  GatherParams g = {};
  g.rows = p;
  g.tile_rows = rows.tile_rows;
  g.order = reinterpret_cast<const int*>(projection.order.data());
  g.columns = static_cast<int>(padded(projection.packed_cols));
  g.element = projection.input_element();
  g.out = call.arrays.reordered;
  call.launch(KernelId::moekit_gather_rows, tile_grid(rows), 1, kRowThreads, 0, g);
  p.input = g.out;
  p.input_stride = g.columns;
  p.input_row = nullptr;
  p.same_input = false;
}

namespace {

void product(const Call& call, const PackedProjection* gate, const PackedProjection& up, GemmParams p,
             const Rows& rows) {
  if (up.order) reorder(call, up, rows, p);
  launch_gemm(call, gate, up, p, rows.tile_rows, rows.tiles);
}

// Gate and up in turn, as their matrices want x in different orders; the sums meet in the activation, as in the kernel
// that does both.
void split_product(const Call& call, const PackedExperts& experts, GemmParams p, const Rows& rows) {
  GemmParams sums = p;
  sums.to = Element::kFloat32;
  sums.activation = no_activation();
  sums.out = call.arrays.gate_sums;
  product(call, nullptr, experts.gate, sums, rows);
  sums.out = call.arrays.up_sums;
  product(call, nullptr, experts.up, sums, rows);
  ActivateParams a = {};
  a.rows = p;
  set_columns(experts.up, a.rows);
  a.tile_rows = rows.tile_rows;
  a.gate = call.arrays.gate_sums;
  a.up = call.arrays.up_sums;
  a.from = Element::kFloat32;
  call.launch(KernelId::moekit_activate_rows, tile_grid(rows), 1, kRowThreads, 0, a);
}

}  // namespace

void multiply(const Call& call, const PackedExperts& experts, const Rows& rows) {
  if (experts.blas) return blas_multiply(call, experts, rows);
  GemmParams p = input_of(call, experts, rows);
  if (!experts.linear()) {
    p.to = experts.down.input_element();
    p.out = rows.hidden;
    p.activation = activation_params(experts.config);
    if (experts.split) {
      split_product(call, experts, p, rows);
    } else {
      product(call, experts.gate.present() ? &experts.gate : nullptr, experts.up, p, rows);
    }
    p.input = rows.hidden;
    p.input_stride = padded(experts.down.cols);
    p.input_row = nullptr;
    p.same_input = false;
  }
  p.to = Element::kFloat32;
  p.out = rows.out;
  p.activation = no_activation();
  product(call, nullptr, experts.down, p, rows);
}

}  // namespace moekit::cuda
