// SPDX-License-Identifier: Apache-2.0
// A few rows of bfloat16 through quantised panels whose codes are bfloat16 numbers (code_pairs.h), in registers:
// products are summed over a run of k that share a scale, and a multiply-add of the scale ends the run. Weights are
// never rounded.
#pragma once

#include "backends/cpu/code_pairs.h"
#include "backends/cpu/fused.h"
#include "backends/cpu/gemm_avx512bf16.h"
#include "backends/cpu/kernels.h"
#include "backends/cpu/layout.h"
#include "backends/cpu/stream_walk.h"

namespace moekit::cpu {
namespace {

/// Units of 16 k of a run. Longer runs save multiply-adds, one for eight products in a unit: 128 k leave 1.5 %.
inline std::int64_t run_units(const TileFormat& format) noexcept {
  const std::int64_t group = format.weight.group;
  for (const std::int64_t units : {8, 4, 2})
    if (group % (16 * units) == 0) return units;  // of whole rows, 0, too
  return 1;
}

/// R rows through P panels, one after the other in memory, codes in registers. Panel p's accumulators are kFusedRows
/// rows from those of p - 1.
template <Read kRead, int R, int P>
void code_rows(const QuantPanels& quant, const std::byte* panel, const std::byte* following, const std::byte* a,
               float* c) {
  using Pairs = CodePairs<kRead>;
  constexpr int kTiles = 2 * P;
  const Pairs pairs;
  F16 total[R][kTiles] = {};
  __m512 sum[R][kTiles] = {};
  const auto offset_of = [&](int tile) { return tile / 2 * quant.panel_bytes() + tile % 2 * quant.half[0].bytes(); };
  const auto walk_of = [&](int tile) { return StepWalk(quant.half[tile % 2], panel + offset_of(tile), 0); };
  StepWalk walks[4] = {walk_of(0), walk_of(1), walk_of(kTiles - 2), walk_of(kTiles - 1)};
  StreamAhead ahead[kTiles];
  for (int tile = 0; tile < kTiles; ++tile) {
    const std::byte* next = following != nullptr ? following + offset_of(tile) : nullptr;
    ahead[tile] = StreamAhead(walks[tile].stream, quant.half[tile % 2].bytes(), next);
    ahead[tile].bring(walks[tile].stream, walks[tile].codes);
  }
  const std::int64_t run = run_units(quant.half[0]), units = quant.half[0].steps * 2;
  for (std::int64_t u = 0; u < units; ++u, a += 32) {
    if (u % 2 == 0) {
      for (int tile = 0; tile < kTiles; ++tile) walks[tile].begin(packed_zero<kRead>);
      if (u != 0) a += kSegmentBytes - kLineBytes;
    }
#pragma GCC unroll 4
    for (int line = 0; line < Pairs::kLines; ++line)
#pragma GCC unroll 4
      for (int tile = 0; tile < kTiles; ++tile) {
        const std::byte* codes = walks[tile].codes + (u % 2 * Pairs::kLines + line) * kLineBytes;
        ahead[tile].bring(codes, codes + kLineBytes);
        __m512bh w[Pairs::kPairs];
        pairs(codes, walks[tile].groups[u % 2].offset, w);
#pragma GCC unroll 4
        for (int pair = 0; pair < Pairs::kPairs; ++pair)
#pragma GCC unroll 4
          for (int r = 0; r < R; ++r)
            sum[r][tile] = _mm512_dpbf16_ps(sum[r][tile], w[pair],
                                            pair_of(a + r * kLineBytes + (line * Pairs::kPairs + pair) * 4));
      }
    if ((u + 1) % run == 0 || u + 1 == units)
      for (int tile = 0; tile < kTiles; ++tile)
        for (int r = 0; r < R; ++r) {
          total[r][tile] = multiply_add(load<F16>(&sum[r][tile]), walks[tile].groups[u % 2].scale, total[r][tile]);
          sum[r][tile] = __m512{};
        }
    if (u % 2 == 0) continue;
    for (int tile = 0; tile < kTiles; ++tile) {
      walks[tile].end();
      if (walks[tile].in_block == 0) ahead[tile].bring(walks[tile].header, walks[tile].codes);
    }
  }
  for (int r = 0; r < R; ++r)
    for (int tile = 0; tile < kTiles; ++tile)
      store(c + (tile / 2 * kFusedRows + r) * kPanelColumns + tile % 2 * 16, total[r][tile]);
}

/// Up to kFusedRows rows of one block of A, as fused_panels.
template <Read kRead>
void code_panels(const QuantPanels& quant, const std::byte* panel, std::int64_t panels, const std::byte* following,
                 const std::byte* a, std::int64_t rows, float* c) noexcept {
  // Blocks of A have 16 rows, of which those beyond the batch may hold anything: three rows go as four.
  if (panels == 2) return code_rows<kRead, 1, 2>(quant, panel, following, a, c);
  if (rows == 1) return code_rows<kRead, 1, 1>(quant, panel, following, a, c);
  if (rows == 2) return code_rows<kRead, 2, 1>(quant, panel, following, a, c);
  code_rows<kRead, kFusedRows, 1>(quant, panel, following, a, c);
}

}  // namespace
}  // namespace moekit::cpu
