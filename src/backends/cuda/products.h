// SPDX-License-Identifier: Apache-2.0
// The products of a set of experts.
#pragma once

#include "backends/cuda/call.h"

namespace moekit::cuda {

/// Where a set of experts works: which rows, and the arrays between its products.
struct Rows {
  std::int64_t count = 0;  // rows of the sorted order, at most
  std::int64_t tiles = 0;  // tiles of them, at most
  int tile_rows = kSmallTile;
  int uniform = 0;                 // GemmParams::uniform_rows
  const int* input_row = nullptr;  // GemmParams::input_row
  std::byte* hidden = nullptr;
  float* out = nullptr;
  const std::int64_t* host_offsets = nullptr;  // [experts + 1] of the sorted rows, where the host knows them
};

/// Blocks of a kernel that takes tile after tile.
std::int64_t tile_grid(const Rows& rows);
/// The prepared rows, and which of them experts read.
GemmParams input_of(const Call& call, const PackedExperts& experts, const Rows& rows);
/// Gathers the rows that `p` reads in sorted order, with columns in the order of the projection's matrices.
void reorder(const Call& call, const PackedProjection& projection, const Rows& rows, GemmParams& p);

/// Both projections of a set of experts, prepared rows to rows.out.
void multiply(const Call& call, const PackedExperts& experts, const Rows& rows);

}  // namespace moekit::cuda
