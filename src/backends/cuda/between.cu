// SPDX-License-Identifier: Apache-2.0
// Between products that are not one kernel: rows in sorted order with their columns in the order of an expert's matrix,
// and the activation of sums that lie in memory.
#include "backends/cuda/gemm_tile.h"
#include "backends/cuda/rows.h"

namespace moekit::cuda {

// Rows of a tile after each other; a block takes every gridDim.x-th tile.
MOEKIT_CUDA_KERNEL(moekit_gather_rows, GatherParams, kRowThreads) {
  const int tiles = tiles_of(p.rows, p.tile_rows);
  for (int t = static_cast<int>(blockIdx.x); t < tiles; t += static_cast<int>(gridDim.x)) {
    const Tile tile = tile_at(p.rows, t, p.tile_rows);
    const int* const order = p.order != nullptr ? p.order + static_cast<long long>(tile.expert) * p.columns : nullptr;
    for (int row = tile.row; row < tile.row + tile.rows; ++row) {
      const long long from = input_row_of(p.rows, tile, row) * p.rows.input_stride;
      const long long to = static_cast<long long>(row) * p.columns;
      for (int c = static_cast<int>(threadIdx.x); c < p.columns; c += static_cast<int>(blockDim.x)) {
        const int column = order != nullptr ? order[c] : c;
        const long long at = from + column;
        if (p.element == Element::kFloat32) {
          static_cast<float*>(p.out)[to + c] = column >= 0 ? static_cast<const float*>(p.rows.input)[at] : 0.0f;
        } else {
          static_cast<unsigned short*>(p.out)[to + c] =
              column >= 0 ? static_cast<const unsigned short*>(p.rows.input)[at] : static_cast<unsigned short>(0);
        }
      }
    }
  }
}

MOEKIT_CUDA_KERNEL(moekit_activate_rows, ActivateParams, kRowThreads) {
  const int tiles = tiles_of(p.rows, p.tile_rows);
  for (int t = static_cast<int>(blockIdx.x); t < tiles; t += static_cast<int>(gridDim.x)) {
    const Tile tile = tile_at(p.rows, t, p.tile_rows);
    for (int row = tile.row; row < tile.row + tile.rows; ++row) {
      const long long from = static_cast<long long>(row) * p.rows.out_stride;
      for (int c = static_cast<int>(threadIdx.x); c < p.rows.out_stride; c += static_cast<int>(blockDim.x)) {
        const float up = load_element(p.up, p.from, from + c);
        const float value = p.gate != nullptr
                                ? finish_gated(p.rows, tile.expert, c, load_element(p.gate, p.from, from + c), up)
                                : finish_plain(p.rows, tile.expert, c, up);
        store_element(p.rows.out, p.rows.to, from + c, value);
      }
    }
  }
}

}  // namespace moekit::cuda
