// SPDX-License-Identifier: Apache-2.0
// A few rows through a bf16z panel: weights are unpacked in registers and meet the rows there. Sums run in the order of
// the Gemm on the plain panel, with its roundings: the same bits. (Gemm: add_pair and pair_at, as in sweep.h.)
#pragma once

#include "backends/cpu/bf16z_tiles.h"
#include "backends/cpu/stream_walk.h"

namespace moekit::cpu {
namespace {

/// Rows beyond this unpack once for all instead.
constexpr int kBf16zRows = kBf16zParts == 1 ? 8 : 4;
/// Ahead of what is read, so far that memory has answered by then.
constexpr std::int64_t kBf16zAhead = 6144;

/// Exceptions of a tile that are still to come.
struct Bf16zPatches {
  const std::byte* heads;
  const std::byte *next, *end;
  int pairs = -1;  // where the next one is: pairs of k 2 g and 2 g + 1; below 0: there is none

  MOEKIT_INLINE Bf16zPatches(const Bf16zFormat& format, const std::byte* panel, int half)
      : heads(bf16z_heads(format, panel, half)), next(heads + format.exceptions_at()), end(next) {}
  /// Those of a step; the steps come in order.
  MOEKIT_INLINE void begin_step(const Bf16zFormat& format, std::int64_t step) {
    const Bf16zRange range = bf16z_exceptions(format, heads, step);
    next = heads + format.exceptions_at() + range.begin * static_cast<std::int64_t>(sizeof(Bf16zException));
    end = heads + format.exceptions_at() + range.end * static_cast<std::int64_t>(sizeof(Bf16zException));
    look();
  }
  MOEKIT_INLINE void look() { pairs = next < end ? load<Bf16zException>(next).at / 64 : -1; }
  /// Puts the next one into both lines.
  MOEKIT_INLINE void apply(Bf16zPairs (&lines)[kBf16zParts][2]) {
    const auto exception = load<Bf16zException>(next);
    const std::uint32_t column = exception.at % 64 / 2, shift = exception.at % 2 * 16;  // column: of both lines
    Bf16zPairs lane = bf16z_lane_numbers();
    for (int line = 0; line < 2; ++line)
      for (int part = 0; part < kBf16zParts; ++part, lane += std::uint32_t{kBf16zWidth / 4}) {
        const Bf16zPairs here = (Bf16zPairs)(lane == column);
        lines[part][line] =
            (lines[part][line] & ~(here & (0xffffu << shift))) | (here & (std::uint32_t{exception.bits} << shift));
      }
    next += sizeof(Bf16zException);
    look();
  }
};

/// R rows through a tile.
template <class Gemm, int R>
struct Bf16zRows {
  Bf16zFloats sums[R][kBf16zParts];

  /// A part of a pair of k. x: that of row 0.
  MOEKIT_INLINE void add(int part, const Bf16zPairs& pair, const std::byte* x) {
#pragma GCC unroll 8
    for (int r = 0; r < R; ++r) sums[r][part] = Gemm::add_pair(sums[r][part], pair, x + r * kLineBytes);
  }
  template <int g = 0>
  MOEKIT_INLINE void tile(const std::byte* at, const Bf16zTables& tables, Bf16zPatches& patches, const std::byte* x) {
    if constexpr (g < 8) {
      // A few lines at a time: a tile's at once would take all of the first-level cache's buffers.
      constexpr std::int64_t kBytes = kBf16zTileBytes / 4;
      if constexpr (g % 2 == 0) StreamAhead<>::bring_lines(at + kBf16zAhead + g / 2 * kBytes, kBytes);
      Bf16zPairs lines[kBf16zParts][2];
#pragma GCC unroll 4
      for (int part = 0; part < kBf16zParts; ++part) bf16z_lines<g>(at, part, tables, lines[part][0], lines[part][1]);
      while (__builtin_expect(patches.pairs == g, 0)) patches.apply(lines);
#pragma GCC unroll 4
      for (int part = 0; part < kBf16zParts; ++part) {
        add(part, lines[part][0], Gemm::pair_at(x, 2 * g));
        add(part, lines[part][1], Gemm::pair_at(x, 2 * g + 1));
      }
      tile<g + 1>(at, tables, patches, x);
    }
  }
};

/// R rows through a panel, tile by tile in the order of memory as in streamed.h. Accumulators of four rows of one tile
/// take half of 16 registers of 32 bytes.
template <class Gemm, int R>
void bf16z_rows(const Bf16zFormat& format, const std::byte* panel, const std::byte* a, float* c) noexcept {
  Bf16zRows<Gemm, R> acc[2] = {};
  Bf16zPatches patches[] = {{format, panel, 0}, {format, panel, 1}};
  const std::byte* tiles = panel + format.tiles_at();
  // Where the last panel's prefetches ended, but for what is about to be read.
  StreamAhead<>::bring_lines(panel + kBf16zAhead, format.tiles_at());
  // One loop over the tiles of all steps: of a loop within each step the compiler takes the loads of x out, to memory.
  for (std::int64_t i = 0; i < 2 * format.steps; ++i, tiles += kBf16zTileBytes) {
    const std::int64_t tile = i % 2, step = i / 2;
    patches[tile].begin_step(format, step);
    Bf16zRows<Gemm, R> rows = acc[tile];
    rows.tile(tiles, Bf16zTables(bf16z_head(patches[tile].heads, step).base), patches[tile], a);
    acc[tile] = rows;
    a += tile * Gemm::kSegments * kSegmentBytes;
  }
  for (int r = 0; r < R; ++r)
    for (int tile = 0; tile < 2; ++tile)
      for (int part = 0; part < kBf16zParts; ++part)
        store(c + r * kPanelColumns + tile * 16 + part * kBf16zWidth / 4, acc[tile].sums[r][part]);
}

/// 32 accumulators of each of at most kBf16zRows rows of one block of A.
template <class Gemm>
void bf16z_panel(const Bf16zFormat& format, const std::byte* panel, const std::byte* a, std::int64_t rows,
                 float* c) noexcept {
  // Blocks of A have 16 rows, of which those beyond the batch may hold anything: three rows go as four.
  if (rows == 1) return bf16z_rows<Gemm, 1>(format, panel, a, c);
  if (rows == 2) return bf16z_rows<Gemm, 2>(format, panel, a, c);
  if (rows <= 4) return bf16z_rows<Gemm, 4>(format, panel, a, c);
  if constexpr (kBf16zRows == 8) bf16z_rows<Gemm, 8>(format, panel, a, c);
}

}  // namespace
}  // namespace moekit::cpu
