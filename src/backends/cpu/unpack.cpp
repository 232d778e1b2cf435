// SPDX-License-Identifier: Apache-2.0
// Panels back to row-major matrices: what pack.cpp did, in reverse, bit for bit. Quantised panels give their codes, or
// go through the unpacking of the block's own kernels.
#include <algorithm>
#include <cstring>
#include <vector>

#include "backends/cpu/pack_tiles.h"
#include "backends/cpu/packed.h"
#include "core/transpose.h"

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

// Tile `tile` of the matrix: of a gated up-projection the `half` of panel `tile`, otherwise both halves in turn.
struct Tiles {
  const std::byte* panels;
  const Projection& p;
  int half;  // -1: both
  const std::uint16_t* columns;
  const KernelTable& table;
  std::vector<std::byte> plain, rows;

  void write(std::int64_t tile, const MutableMatrixView& out) {
    const std::int64_t panel = half < 0 ? tile / 2 : tile, side = half < 0 ? tile % 2 : half;
    const std::byte* at = panels + panel * p.panel_bytes;
    if (p.bf16z) {
      plain.resize(static_cast<std::size_t>(p.steps * kStepBytes));
      unpack_bf16z(p.compressed, at, static_cast<int>(side), plain.data());
      return unpack_tiles(plain.data(), p.steps, tile * kTileColumns, rows, out);
    }
    if (!p.quantised) return unpack_tiles(at + side * kSegmentBytes, p.steps, tile * kTileColumns, rows, out);
    const TileFormat& format = p.half[side];
    if (out.dtype == DType::kUInt8)
      return unpack_codes(format, at + side * p.half[0].bytes(), tile * kTileColumns, out);
    const std::int64_t steps = format.steps * 2;  // of 16 k of float32
    plain.resize(static_cast<std::size_t>(steps * kStepBytes));
    table.unpack({&format, columns, at + side * p.half[0].bytes(), 0, format.steps, plain.data()});
    unpack_tiles(plain.data(), steps, tile * kTileColumns, rows, out);
  }
  void all(const MutableMatrixView& out) {
    for (std::int64_t tile = 0; out.data != nullptr && tile * kTileColumns < out.rows; ++tile) write(tile, out);
  }
};

void unpack_bias(const float* bias, std::int64_t stride, std::int64_t at, const MutableMatrixView& out) {
  for (std::int64_t i = 0; out.data != nullptr && i < out.cols; ++i)
    static_cast<float*>(out.data)[i] = bias[i / kTileColumns * stride + at + i % kTileColumns];
}

}  // namespace

void unpack_expert(const ExpertGroup& group, const PackedExpert& packed, const KernelTable& table,
                   const ExpertViews& out) {
  const KernelScope scope(table);
  const auto tiles = [&](const std::byte* panels, const Projection& p, int half, int part) {
    return Tiles{panels, p, half, packed.columns[part], table, {}, {}};
  };
  if (is_gated(group.config.act)) {
    tiles(packed.up, group.up, 0, 0).all(out.gate);
    tiles(packed.up, group.up, 1, 1).all(out.up);
    unpack_bias(packed.up_bias, kPanelColumns, 0, out.gate_bias);
    unpack_bias(packed.up_bias, kPanelColumns, kTileColumns, out.up_bias);
  } else {
    tiles(packed.up, group.up, -1, 1).all(out.up);
    unpack_bias(packed.up_bias, kTileColumns, 0, out.up_bias);
  }
  tiles(packed.down, group.down, -1, 2).all(out.down);
  unpack_bias(packed.down_bias, kTileColumns, 0, out.down_bias);
}

}  // namespace moekit::cpu
