// SPDX-License-Identifier: Apache-2.0
// Panels back to row-major matrices: what pack.cpp did, in reverse, bit for bit.
#include <algorithm>
#include <cstring>
#include <vector>

#include "backends/cpu/packed.h"
#include "backends/cpu/transpose.h"

namespace moekit::cpu {
namespace {

// One tile a step, `kStepBytes` apart, to up to 16 rows from `first` on.
void unpack_tiles(const std::byte* tiles, std::int64_t steps, std::int64_t first, std::vector<std::byte>& rows,
                  const MutableMatrixView& out) {
  const std::int64_t row_bytes = steps * kLineBytes, size = static_cast<std::int64_t>(dtype_size(out.dtype));
  rows.resize(static_cast<std::size_t>(kTileColumns * row_bytes));
  for (std::int64_t s = 0; s < steps; ++s)
    for (int line = 0; line < 16; line += 4)
      for (int column = 0; column < 16; column += 4)
        transpose4(tiles + s * kStepBytes + line * kLineBytes + column * 4, kLineBytes,
                   rows.data() + column * row_bytes + s * kLineBytes + line * 4, row_bytes);
  for (std::int64_t r = 0; r < std::min(kTileColumns, out.rows - first); ++r)
    std::memcpy(static_cast<std::byte*>(out.data) + (first + r) * out.row_stride * size, rows.data() + r * row_bytes,
                static_cast<std::size_t>(out.cols * size));
}

// Both tiles of every panel: 32 rows in order.
void unpack_plain(const std::byte* panels, std::int64_t steps, std::vector<std::byte>& rows,
                  const MutableMatrixView& out) {
  for (std::int64_t r = 0; out.data != nullptr && r < out.rows; r += kTileColumns)
    unpack_tiles(panels + r / kPanelColumns * steps * kStepBytes + r % kPanelColumns / kTileColumns * kSegmentBytes,
                 steps, r, rows, out);
}

// One operand of a gated up-projection: tile `half` of every panel.
void unpack_half(const std::byte* panels, int half, std::int64_t steps, std::vector<std::byte>& rows,
                 const MutableMatrixView& out) {
  for (std::int64_t r = 0; out.data != nullptr && r < out.rows; r += kTileColumns)
    unpack_tiles(panels + r / kTileColumns * steps * kStepBytes + half * kSegmentBytes, steps, r, rows, out);
}

void unpack_bias(const float* bias, std::int64_t stride, std::int64_t at, const MutableMatrixView& out) {
  for (std::int64_t i = 0; out.data != nullptr && i < out.cols; ++i)
    static_cast<float*>(out.data)[i] = bias[i / kTileColumns * stride + at + i % kTileColumns];
}

}  // namespace

void unpack_expert(const ExpertGroup& group, std::int64_t expert, const ExpertViews& out) {
  const PackedExpert& packed = group.experts[static_cast<std::size_t>(expert)];
  std::vector<std::byte> rows;
  if (is_gated(group.config.act)) {
    unpack_half(packed.up, 0, group.up_steps, rows, out.gate);
    unpack_half(packed.up, 1, group.up_steps, rows, out.up);
    unpack_bias(packed.up_bias, kPanelColumns, 0, out.gate_bias);
    unpack_bias(packed.up_bias, kPanelColumns, kTileColumns, out.up_bias);
  } else {
    unpack_plain(packed.up, group.up_steps, rows, out.up);
    unpack_bias(packed.up_bias, kTileColumns, 0, out.up_bias);
  }
  unpack_plain(packed.down, group.down_steps, rows, out.down);
  unpack_bias(packed.down_bias, kTileColumns, 0, out.down_bias);
}

}  // namespace moekit::cpu
