// SPDX-License-Identifier: Apache-2.0
// Expert matrices in the order in which the kernels' lanes read them.
//
// bfloat16 and float16 [rows, cols], padded with zeros to 32 of each: tiles of 16 rows x 32 columns, row tile by row
// tile and in it column step by column step, 1024 bytes each. A tile is two mma operands of 512 bytes, lane by lane 16
// bytes. Lane (g, q) of operand m holds columns 8 q + 4 m .. + 3 of rows g and g + 8: registers (g; first two), (g + 8;
// first two), (g; last two), (g + 8; last two). float32, and all for cuBLAS: row-major, padded likewise.
#pragma once

#include <cstddef>
#include <cstdint>
#include <limits>

#include "moekit/core.h"

namespace moekit::cuda {

constexpr std::int64_t kTileRows = 16, kStepColumns = 32;

/// Largest number of rows or columns: sizes are int in the kernels, and padded to 32.
constexpr std::int64_t kMaxSize = std::numeric_limits<int>::max() - 31;

/// Rows and columns with their padding.
constexpr std::int64_t padded(std::int64_t n) noexcept { return (n + 31) / 32 * 32; }

/// Element (r, c) of a packed matrix of `steps` column steps, in elements.
constexpr std::int64_t fragment_index(std::int64_t r, std::int64_t c, std::int64_t steps) noexcept {
  const std::int64_t tile = r / kTileRows * steps + c / kStepColumns, row = r % kTileRows, column = c % kStepColumns;
  const std::int64_t lane = row % 8 * 4 + column / 8, within = column % 8;
  const std::int64_t word = row / 8 + within % 4 / 2 * 2;
  return tile * 512 + within / 4 * 256 + lane * 8 + word * 2 + within % 2;
}

/// Bytes of a packed plain matrix.
std::size_t packed_bytes(std::int64_t rows, std::int64_t cols, DType element);
/// Packs a plain matrix (any float dtype) into `out`, which holds packed_bytes() zero bytes.
void pack_plain(const MatrixView& matrix, DType element, bool row_major, std::byte* out);
/// The inverse: `out` [rows, cols] of dtype `element`.
void unpack_plain(const std::byte* packed, DType element, bool row_major, const MutableMatrixView& out);

}  // namespace moekit::cuda
