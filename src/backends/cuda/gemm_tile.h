// SPDX-License-Identifier: Apache-2.0
// For kernels: which rows a block of a grouped product works on, and where results go.
#pragma once

#include "backends/cuda/activation.h"
#include "backends/cuda/device.h"
#include "backends/cuda/kernels.h"

namespace moekit::cuda {

MOEKIT_DEVICE int uniform_tiles(const GemmParams& p, int tokens) { return (p.uniform_rows + tokens - 1) / tokens; }

MOEKIT_DEVICE int tiles_of(const GemmParams& p, int tokens) {
  return p.uniform_rows > 0 ? p.experts * uniform_tiles(p, tokens) : *p.tile_count;
}

MOEKIT_DEVICE Tile tile_at(const GemmParams& p, int index, int tokens) {
  if (p.uniform_rows == 0) return p.tiles[index];
  const int tiles = uniform_tiles(p, tokens), expert = index / tiles, first = (index - expert * tiles) * tokens;
  const int left = p.uniform_rows - first;
  return {expert, expert * p.uniform_rows + first, left < tokens ? left : tokens};
}

/// Where sorted row `row` of a tile's expert is read.
MOEKIT_DEVICE long long input_row_of(const GemmParams& p, const Tile& tile, int row) {
  if (p.same_input) return row - tile.expert * p.uniform_rows;
  return p.input_row != nullptr ? p.input_row[row] : row;
}

/// Sums of one output column through bias and activation; padding columns are 0 whatever the sums hold.
MOEKIT_DEVICE float finish_gated(const GemmParams& p, int expert, int column, float gate, float up) {
  if (column >= p.columns) return 0.0f;
  const int bias = expert * p.bias_stride + column;
  if (p.gate_bias != nullptr) gate += p.gate_bias[bias];
  if (p.up_bias != nullptr) up += p.up_bias[bias];
  return gated_activation(p.activation, gate, up);
}

MOEKIT_DEVICE float finish_plain(const GemmParams& p, int expert, int column, float up) {
  if (column >= p.columns) return 0.0f;
  if (p.up_bias != nullptr) up += p.up_bias[expert * p.bias_stride + column];
  return plain_activation(p.activation, up);
}

}  // namespace moekit::cuda
