// SPDX-License-Identifier: Apache-2.0
// One call of a layer on a device: what its parts hand each other.
#pragma once

#include "backends/cuda/workspace.h"

namespace moekit::cuda {

struct Call {
  const Packed& block;
  const CallScope& scope;
  const Arrays& arrays;
  Scratch& scratch;

  template <class Params>
  void launch(KernelId kernel, std::int64_t grid_x, std::int64_t grid_y, int threads, std::size_t shared_bytes,
              const Params& params) const {
    block.device.launch(kernel, static_cast<unsigned>(grid_x), static_cast<unsigned>(grid_y),
                        static_cast<unsigned>(threads), static_cast<unsigned>(shared_bytes), scope.stream(), params);
  }
};

inline std::int64_t blocks_for(std::int64_t count, std::int64_t of_block) { return (count + of_block - 1) / of_block; }
/// Shared memory of an array as SharedMemory::take() counts it.
inline std::size_t shared_array_bytes(std::int64_t words) {
  return static_cast<std::size_t>((4 * words + 15) / 16 * 16);
}

/// The output columns of a projection: columns and out_stride.
void set_columns(const PackedProjection& up, GemmParams& p);
void set_biases(const PackedProjection* gate, const PackedProjection& up, GemmParams& p);
/// A product with one expert's or all experts' matrices; `p` holds inputs, outputs and activation, this adds what the
/// matrices say and launches. `tiles`: an upper bound of their number.
void launch_gemm(const Call& call, const PackedProjection* gate, const PackedProjection& up, GemmParams p,
                 int tile_rows, std::int64_t tiles);

/// x to ids and weights in `routing`, or a copy of the caller's.
void route(const Call& call, const MatrixView& x, const RouteInputs& inputs, const RoutingView& routing);
/// Throws std::invalid_argument when a synchronous call met ids outside their range.
void report_bad_input(const Call& call, const RouterConfig& config);

/// Permutation, products, weighted sum.
void run_experts(const Call& call, const MatrixView& x, const RoutingView& routing, const MutableMatrixView& y);
/// Rows that are sorted already; offsets [experts + 1] in host memory.
void run_grouped(const Call& call, const MatrixView& rows, const std::int64_t* offsets, const MutableMatrixView& out);

}  // namespace moekit::cuda
