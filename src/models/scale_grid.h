// SPDX-License-Identifier: Apache-2.0
// Which weights share a scale, told by the shape of the scales.
#pragma once

#include <cstdint>
#include <optional>
#include <vector>

#include "models/quantisation.h"

namespace moekit {

/// Scales of a matrix, [rows, cols].
struct ScaleGrid {
  std::int64_t rows = 0, cols = 0;
};

/// The grid of each of `count` matrices (0: a single one, without a leading extent) of [rows, ...] weights: [], [1] and
/// [rows] are grids of one column, [R, 1, C, 1] is [R, C]. Nothing when the shape is none of these.
std::optional<ScaleGrid> grid_of_shape(const std::vector<std::int64_t>& shape, std::int64_t count);

/// The block that a grid over [rows, cols] 8 bit weights means: a published size that fits it, or a scale a row, or,
/// for exponents (MX formats), 1 x 32. Where nothing is published, or exponents are in blocks: 128 x 128, or another
/// power of two that fits. Nothing when none does. A single scale for more than one row is not a block: it fits a
/// published block at least as large as the matrix, or nothing.
std::optional<ScaleBlock> block_of_grid(std::int64_t rows, std::int64_t cols, const ScaleGrid& grid,
                                        const Quantisation& published, bool exponents);

/// The group along a row that `groups` scales a row mean: 0 for one, a published size that fits, or, where none is
/// published, cols / groups. Nothing when none does.
std::optional<std::int64_t> group_of_scales(std::int64_t cols, std::int64_t groups, const Quantisation& published);

}  // namespace moekit
