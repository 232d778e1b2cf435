// SPDX-License-Identifier: Apache-2.0
// Row-major matrices to panels. A panel's tile is, for both dtypes, the transpose of 16 rows x 64 bytes in units of
// four bytes: a float32, or a pair of bfloat16.
#include <cstring>

#include "backends/cpu/pack.h"
#include "core/float_convert.h"
#include "core/transpose.h"

namespace moekit::cpu {
namespace {

// 16 source rows of `steps` lines to one tile a step, `kStepBytes` apart.
void transpose_tiles(const std::byte* rows, std::int64_t row_bytes, std::int64_t steps, std::byte* tiles) {
  for (std::int64_t s = 0; s < steps; ++s)
    for (int column = 0; column < 16; column += 4)
      for (int line = 0; line < 16; line += 4)
        transpose4(rows + column * row_bytes + s * kLineBytes + line * 4, row_bytes,
                   tiles + s * kStepBytes + line * kLineBytes + column * 4, kLineBytes);
}

// A row in the packed dtype. `floats` is scratch.
void load_row(const MatrixView& m, std::int64_t r, DType weight, std::vector<float>& floats, std::byte* out) {
  const std::int64_t begin = r * m.row_stride;
  if (m.dtype == weight && m.col_stride == 1) {
    const auto size = static_cast<std::int64_t>(dtype_size(weight));
    std::memcpy(out, static_cast<const std::byte*>(m.data) + begin * size, static_cast<std::size_t>(m.cols * size));
    return;
  }
  floats.resize(static_cast<std::size_t>(m.cols));
  load_as_float(m.data, m.dtype, begin, m.col_stride, m.cols, floats.data());
  if (weight != DType::kBFloat16) {
    std::memcpy(out, floats.data(), floats.size() * sizeof(float));
    return;
  }
  auto* shorts = reinterpret_cast<std::uint16_t*>(out);
  for (std::int64_t c = 0; c < m.cols; ++c) shorts[c] = float_to_bf16(floats[static_cast<std::size_t>(c)]);
}

// Rows [first, first + 16) of a matrix (absent ones are zero) to the tiles of half a panel.
void pack_tiles(const MatrixView& m, std::int64_t first, DType weight, std::int64_t steps, PackScratch& scratch,
                std::byte* tiles) {
  const std::int64_t size = static_cast<std::int64_t>(dtype_size(weight)), row_bytes = steps * kLineBytes;
  const bool direct = m.dtype == weight && m.col_stride == 1 && first + 16 <= m.rows && m.cols * size == row_bytes;
  if (direct) {
    const std::byte* rows = static_cast<const std::byte*>(m.data) + first * m.row_stride * size;
    return transpose_tiles(rows, m.row_stride * size, steps, tiles);
  }
  scratch.rows.resize(static_cast<std::size_t>(16 * row_bytes));
  const std::int64_t used = m.cols * size;
  for (std::int64_t r = 0; r < 16; ++r) {
    std::byte* row = scratch.rows.data() + r * row_bytes;
    if (first + r >= m.rows) {
      std::memset(row, 0, static_cast<std::size_t>(row_bytes));
      continue;
    }
    load_row(m, first + r, weight, scratch.row, row);
    std::memset(row + used, 0, static_cast<std::size_t>(row_bytes - used));
  }
  transpose_tiles(scratch.rows.data(), row_bytes, steps, tiles);
}

}  // namespace

// A whole matrix: both tiles of a panel are 32 rows in order.
void pack_plain(const MatrixView& m, DType weight, std::int64_t steps, PackScratch& scratch, std::byte* panels) {
  for (std::int64_t r = 0; r < round_up(m.rows, kPanelColumns); r += kTileColumns)
    pack_tiles(m, r, weight, steps, scratch,
               panels + r / kPanelColumns * steps * kStepBytes + r % kPanelColumns / kTileColumns * kSegmentBytes);
}

// One operand of a gated up-projection: tile `half` of every panel.
void pack_half(const MatrixView& m, int half, DType weight, std::int64_t steps, PackScratch& scratch,
               std::byte* panels) {
  for (std::int64_t r = 0; r < m.rows; r += kTileColumns)
    pack_tiles(m, r, weight, steps, scratch, panels + r / kTileColumns * steps * kStepBytes + half * kSegmentBytes);
}

// Bias element i to where panel order has it.
void pack_bias(const MatrixRef& bias, std::int64_t stride, std::int64_t at, PackScratch& scratch, float* out) {
  if (!bias) return;
  const MatrixView view = bias.read(scratch.read.bytes);
  for (std::int64_t i = 0; i < view.cols; ++i)
    out[i / kTileColumns * stride + at + i % kTileColumns] = load_as_float(view.data, view.dtype, i * view.col_stride);
}

PackedMatrix pack_matrix(const MatrixRef& matrix, DType weight) {
  PackedMatrix packed;
  packed.weight = weight;
  packed.rows = matrix.rows;
  packed.cols = matrix.cols;
  packed.panels = ceil_div(matrix.rows, kPanelColumns);
  packed.steps = ceil_div(matrix.cols, step_columns(weight));
  packed.storage = AlignedBuffer(static_cast<std::size_t>(
      checked_mul(packed.panels, checked_mul(packed.steps, kStepBytes, matrix.tensor.name), matrix.tensor.name)));
  PackScratch scratch;
  pack_plain(matrix.read(scratch.read.bytes), weight, packed.steps, scratch, packed.storage.data());
  return packed;
}

}  // namespace moekit::cpu
