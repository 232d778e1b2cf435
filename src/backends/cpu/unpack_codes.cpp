// SPDX-License-Identifier: Apache-2.0
// What pack_stream did with the codes, in reverse.
#include <algorithm>

#include "backends/cpu/pack_tiles.h"

namespace moekit::cpu {
namespace {

// Bits [at, at + width) of a lane of vector `vector`; a field never crosses a byte.
std::uint8_t field(const std::byte* step, std::int64_t vector, std::int64_t lane, int at, int width) noexcept {
  const auto byte = std::to_integer<unsigned>(step[vector * kLineBytes + lane * 4 + at / 8]);
  return static_cast<std::uint8_t>(byte >> (at % 8) & ((1u << width) - 1u));
}

// Code k < 32 of a step of one column: the planes of tile_format.h.
std::uint8_t code_of(const std::byte* step, std::int64_t lane, int k, int bits) noexcept {
  if (bits == 8) return field(step, k / 4, lane, k % 4 * 8, 8);
  std::uint8_t code = field(step, k / 8, lane, k % 8 * 4, 4);
  if (bits == 5) code = static_cast<std::uint8_t>(code | field(step, 4, lane, k, 1) << 4);
  if (bits == 6) code = static_cast<std::uint8_t>(code | field(step, 4 + k / 16, lane, k % 16 * 2, 2) << 4);
  return code;
}

}  // namespace

void unpack_codes(const TileFormat& format, const std::byte* stream, std::int64_t first, const MutableMatrixView& out) {
  const int bits = code_bits(format.weight.code);
  for (std::int64_t lane = 0; lane < std::min(kTileColumns, out.rows - first); ++lane) {
    std::uint8_t* row = static_cast<std::uint8_t*>(out.data) + (first + lane) * out.row_stride;
    for (std::int64_t k = 0; k < out.cols; ++k)
      row[k] = code_of(stream + format.step_at(k / kQuantStep), lane, static_cast<int>(k % kQuantStep), bits);
  }
}

}  // namespace moekit::cpu
