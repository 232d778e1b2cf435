// SPDX-License-Identifier: Apache-2.0
// A few rows of float32 through a bf16z panel: weights are unpacked in registers and meet the rows there. Sums run in
// the order of FmaGemm on the plain panel, with its roundings: the same bits.
#pragma once

#include "backends/cpu/bf16z_tiles.h"

namespace moekit::cpu {
namespace {

/// Rows beyond this unpack once for all instead.
constexpr int kBf16zRows = kBf16zParts == 1 ? 8 : 4;

/// kTiles: of a panel that go together. Accumulators of eight rows of two tiles take half of the 32 registers of
/// AVX-512, those of two rows of two tiles or of four of one half of 16 registers of 32 bytes.
template <int R, int kTiles>
struct Bf16zRows {
  Bf16zFloats acc[R][kTiles][kBf16zParts] = {};

  /// A part of a pair of k. x: the even k of row 0.
  MOEKIT_INLINE void add(int tile, int part, const Bf16zPairs& pair, const float* x) {
    const auto even = (Bf16zFloats)(pair << 16), odd = (Bf16zFloats)(pair & 0xffff0000u);
#pragma GCC unroll 8
    for (int r = 0; r < R; ++r) acc[r][tile][part] += even * x[r * 16];
#pragma GCC unroll 8
    for (int r = 0; r < R; ++r) acc[r][tile][part] += odd * x[r * 16 + 1];
  }
  template <int g = 0>
  MOEKIT_INLINE void compressed_step(const std::byte* tiles, const Bf16zTables* tables, const float* x) {
    if constexpr (g < 8) {
      const float* pair = x + g / 4 * (kSegmentBytes / 4) + g % 4 * 4;
#pragma GCC unroll 2
      for (int tile = 0; tile < kTiles; ++tile)
#pragma GCC unroll 4
        for (int part = 0; part < kBf16zParts; ++part) {
          Bf16zPairs first, second;
          bf16z_lines<g>(tiles + tile * kBf16zTileBytes, part, tables[tile], first, second);
          add(tile, part, first, pair);
          add(tile, part, second, pair + 2);
        }
      compressed_step<g + 1>(tiles, tables, x);
    }
  }
  void plain_step(const std::byte* tiles, const float* x) {
    for (int pair = 0; pair < 16; ++pair)
#pragma GCC unroll 2
      for (int tile = 0; tile < kTiles; ++tile)
#pragma GCC unroll 4
        for (int part = 0; part < kBf16zParts; ++part)
          add(tile, part, load<Bf16zPairs>(tiles + tile * kSegmentBytes + pair * kLineBytes + part * kBf16zWidth),
              x + pair / 8 * (kSegmentBytes / 4) + pair % 8 * 2);
  }
};

/// Tiles [first, first + kTiles) of the steps of a panel.
template <int R, int kTiles>
void bf16z_rows(const Bf16zFormat& format, const std::byte* panel, int first, const std::byte* a, float* c) noexcept {
  // Ahead of what is read, so far that memory has answered by then: lines wait in the second-level cache.
  constexpr std::int64_t kAhead = 4096;
  Bf16zRows<R, kTiles> rows;
  const auto* x = reinterpret_cast<const float*>(a);
  const std::byte* heads[kTiles];
  std::uint16_t ends[kTiles] = {};
  for (int tile = 0; tile < kTiles; ++tile) heads[tile] = bf16z_heads(format, panel, first + tile);
  const std::byte* tiles = panel + format.tiles_at() + first * kBf16zTileBytes;
  for (std::int64_t s = 0; s < format.steps; ++s, tiles += 2 * kBf16zTileBytes, x += 2 * kSegmentBytes / 4) {
    if (first == 0)
      for (int line = 0; line < 2 * kBf16zTileBytes / kLineBytes; ++line)
        __builtin_prefetch(tiles + kAhead + line * kLineBytes, 0, 2);
    bool exceptions = false;
    for (int tile = 0; tile < kTiles; ++tile) {
      const std::uint16_t end = bf16z_head(heads[tile], s).end;
      exceptions = exceptions || end != ends[tile];
      ends[tile] = end;
    }
    if (exceptions) {
      alignas(64) std::byte step[kStepBytes];
      for (int tile = 0; tile < kTiles; ++tile)
        unpack_bf16z_tile(format, panel, s, first + tile, Bf16zPlain(step, 0, tile));
      rows.plain_step(step, x);
      continue;
    }
    const Bf16zTables tables[] = {Bf16zTables(bf16z_head(heads[0], s).base),
                                  Bf16zTables(bf16z_head(heads[kTiles - 1], s).base)};
    rows.compressed_step(tiles, tables, x);
  }
  for (int r = 0; r < R; ++r)
    for (int tile = 0; tile < kTiles; ++tile)
      for (int part = 0; part < kBf16zParts; ++part)
        store(c + r * kPanelColumns + (first + tile) * 16 + part * kBf16zWidth / 4, rows.acc[r][tile][part]);
}

/// 32 accumulators of each of at most kBf16zRows rows of one block of A.
inline void bf16z_panel(const Bf16zFormat& format, const std::byte* panel, const std::byte* a, std::int64_t rows,
                        float* c) noexcept {
  // Blocks of A have 16 rows, of which those beyond the batch may hold anything: three rows go as four.
  if (rows == 1) return bf16z_rows<1, 2>(format, panel, 0, a, c);
  if (rows == 2) return bf16z_rows<2, 2>(format, panel, 0, a, c);
  if constexpr (kBf16zParts == 1) {
    if (rows <= 4) return bf16z_rows<4, 2>(format, panel, 0, a, c);
    bf16z_rows<8, 2>(format, panel, 0, a, c);
  } else {
    for (int first = 0; first < 2; ++first) bf16z_rows<4, 1>(format, panel, first, a, c);
  }
}

}  // namespace
}  // namespace moekit::cpu
