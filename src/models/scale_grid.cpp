// SPDX-License-Identifier: Apache-2.0
#include "models/scale_grid.h"

namespace moekit {
namespace {

/// Whether `count` parts of `size` cover `extent`, the last one partial.
bool covers(std::int64_t extent, std::int64_t size, std::int64_t count) { return (extent + size - 1) / size == count; }

bool fits(std::int64_t rows, std::int64_t cols, const ScaleGrid& grid, const ScaleBlock& block) {
  return covers(rows, block.rows, grid.rows) && covers(cols, block.cols, grid.cols);
}

constexpr std::int64_t kMxGroup = 32;  // OCP Microscaling formats
// Sizes seen where nothing is published, the commonest first.
constexpr std::int64_t kUsualSizes[] = {128, 64, 32, 16, 256, 512};

}  // namespace

std::optional<ScaleGrid> grid_of_shape(const std::vector<std::int64_t>& shape, std::int64_t count) {
  std::vector<std::int64_t> own = shape;
  if (count > 0) {
    if (own.empty() || own.front() != count) return std::nullopt;
    own.erase(own.begin());
  }
  if (own.size() == 4 && own[1] == 1 && own[3] == 1) own = {own[0], own[2]};
  if (own.empty()) return ScaleGrid{1, 1};
  if (own.size() == 1) return ScaleGrid{own[0], 1};
  if (own.size() == 2) return ScaleGrid{own[0], own[1]};
  return std::nullopt;
}

std::optional<ScaleBlock> block_of_grid(std::int64_t rows, std::int64_t cols, const ScaleGrid& grid,
                                        const Quantisation& published, bool exponents) {
  for (const ScaleBlock& block : published.blocks)
    if (fits(rows, cols, grid, block)) return block;
  const bool a_row_each = grid.rows == rows;
  if (a_row_each && exponents && covers(cols, kMxGroup, grid.cols)) return ScaleBlock{1, kMxGroup};
  if (a_row_each && grid.cols == 1 && !exponents) return ScaleBlock{1, 0};
  if (a_row_each)
    for (const std::int64_t group : published.groups)
      if (covers(cols, group, grid.cols)) return ScaleBlock{1, group};
  if (!exponents && !published.blocks.empty()) return std::nullopt;
  if (grid.rows == 1 && grid.cols == 1) return std::nullopt;
  for (const std::int64_t size : kUsualSizes)
    if (fits(rows, cols, grid, {size, size})) return ScaleBlock{size, size};
  if (a_row_each)
    for (const std::int64_t size : kUsualSizes)
      if (cols % size == 0 && covers(cols, size, grid.cols)) return ScaleBlock{1, size};
  return std::nullopt;
}

std::optional<std::int64_t> group_of_scales(std::int64_t cols, std::int64_t groups, const Quantisation& published) {
  for (const std::int64_t group : published.groups)
    if (covers(cols, group, groups)) return group;
  if (groups == 1) return 0;
  if ((published.groups.empty() || published.sizes_vary) && groups > 0 && cols % groups == 0) return cols / groups;
  return std::nullopt;
}

}  // namespace moekit
