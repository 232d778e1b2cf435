// SPDX-License-Identifier: Apache-2.0
// A few rows through a quantised panel without unpacking it to memory: weights become float32 in registers, and meet
// the rows there. Sums run in the order of k with the same roundings as FmaGemm on unpacked steps: the same bits.
#pragma once

#include "backends/cpu/few_rows.h"
#include "backends/cpu/kernels.h"
#include "backends/cpu/unpack_tiles.h"

namespace moekit::cpu {
namespace {

/// R rows through P panels, one after the other in memory. Panel p's accumulators are kFusedRows rows from those of p
/// - 1.
template <Read kRead, Form kForm, int R, int P>
void fused_rows(const QuantPanels& quant, const std::byte* panel, const std::byte* following, const std::byte* a,
                float* c) {
  constexpr int kTiles = 2 * P;
  F16 acc[R][kTiles] = {};
  PanelWalks<P, StreamAhead<>> streams(quant, panel, following);
  const auto* x = reinterpret_cast<const float*>(a);
  for (std::int64_t s = 0; s < quant.half[0].steps; ++s, x += 2 * kSegmentBytes / 4) {
    streams.begin(prepare<kRead>);
    for (int j = 0; j < 4; ++j) {
      const float* xj = x + j / 2 * (kSegmentBytes / 4) + j % 2 * 8;
      // A few lines at a time: a step's at once would take all of the first-level cache's buffers.
      constexpr int kLines = code_lines(kRead);
      for (int tile = 0; tile < kTiles; ++tile)
        streams.bring(tile, j * kLines / 4 * kLineBytes, (j + 1) * kLines / 4 * kLineBytes);
#pragma GCC unroll 8
      for (int i = 0; i < 8; ++i)
#pragma GCC unroll 4
        for (int tile = 0; tile < kTiles; ++tile) {
          const F16 w = weight_at<kRead, kForm>(streams.walks[tile].codes, j, i, streams.walks[tile].of(j / 2));
#pragma GCC unroll 4
          for (int r = 0; r < R; ++r) acc[r][tile] = multiply_add(w, xj[r * 16 + i], acc[r][tile]);
        }
    }
    streams.end();
  }
  for (int r = 0; r < R; ++r)
    for (int tile = 0; tile < kTiles; ++tile)
      store(c + (tile / 2 * kFusedRows + r) * kPanelColumns + tile % 2 * 16, acc[r][tile]);
}

struct Fused {
  const QuantPanels& quant;
  const std::byte *panel, *following, *a;
  std::int64_t rows, panels;
  float* c;
  template <Read kRead, Form kForm>
  void run() const {
    if (panels == 2) return fused_rows<kRead, kForm, 1, 2>(quant, panel, following, a, c);
    with_rows<1, 2, kFusedRows>(
        rows, [&](auto count) { fused_rows<kRead, kForm, count(), 1>(quant, panel, following, a, c); });
  }
};

/// Whether the panel's two streams go through one instance of the kernel.
inline bool can_fuse(const QuantPanels& quant) noexcept {
  const TileFormat &a = quant.half[0], &b = quant.half[1];
  return read_of(a) == read_of(b) && form_of(a.weight) == form_of(b.weight) && !a.by_column && !b.by_column;
}

/// Panels that fused_panels takes at once when `left` are to come. One row's two sums of a panel are chains of
/// multiply-adds that wait for one another: two panels have four.
inline std::int64_t fused_at_once(std::int64_t rows, std::int64_t left) noexcept {
  return rows == 1 && left > 1 ? 2 : 1;
}

/// 32 accumulators of each of at most kFusedRows rows of one block of A; those of the next panel kFusedRows rows later.
/// `following`: the panel that is read after these, or null.
inline void fused_panels(const QuantPanels& quant, const std::byte* panel, std::int64_t panels,
                         const std::byte* following, const std::byte* a, std::int64_t rows, float* c) noexcept {
  dispatch_format(quant.half[0], Fused{quant, panel, following, a, rows, panels, c});
}

}  // namespace
}  // namespace moekit::cpu
