// SPDX-License-Identifier: Apache-2.0
// A few rows of bfloat16 through quantised panels whose codes are bfloat16 numbers (code_pairs.h), in registers:
// products are summed over a run of k that share a scale, and a multiply-add of the scale ends the run. Weights are
// never rounded.
#pragma once

#include "backends/cpu/code_pairs.h"
#include "backends/cpu/few_rows.h"
#include "backends/cpu/gemm_avx512bf16.h"
#include "backends/cpu/kernels.h"
#include "backends/cpu/layout.h"
#include "backends/cpu/stream_walk.h"

namespace moekit::cpu {
namespace {

/// Units of 16 k of a run. Longer runs save multiply-adds: 64 k leave one for 32 products. But the products of a sum
/// wait for one another, and at one row a processor begins the next run beside the last only where runs are short.
inline std::int64_t run_units(const TileFormat& format) noexcept {
  const std::int64_t group = format.weight.group;
  for (const std::int64_t units : {4, 2})
    if (group % (16 * units) == 0) return units;  // of whole rows, 0, too
  return 1;
}

/// Rows beyond this unpack codes to memory once for all instead: sixteen sums fill half of the registers.
constexpr int kCodeRows = 8;

/// Panels that go at once when `left` are to come. Sums of one panel of 4 bit codes wait for one another, those of two
/// do not; 8 bit codes are read no faster than one panel is multiplied, and memory answers fewer streams better.
inline std::int64_t code_panels_at_once(const QuantPanels& quant, std::int64_t rows, std::int64_t left) noexcept {
  const Code code = quant.half[0].weight.code;
  return left > 1 && rows <= kFusedRows && code != Code::kInt8 && code != Code::kE4M3 ? 2 : 1;
}

/// Of all streams together 8 KiB are on the way: what a core reads while memory answers, 40 GB/s for 200 ns.
template <int P>
using CodesAhead = StreamAhead<8192 / (2 * P)>;

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
  PanelWalks<P, CodesAhead<P>> streams(quant, panel, following);
  const auto end_run = [&](int half) MOEKIT_INLINED {
#pragma GCC unroll 8
    for (int tile = 0; tile < kTiles; ++tile)
#pragma GCC unroll 8
      for (int r = 0; r < R; ++r) {
        total[r][tile] = multiply_add(load<F16>(&sum[r][tile]), streams.walks[tile].of(half).scale, total[r][tile]);
        sum[r][tile] = __m512{};
      }
  };
  const std::int64_t run = run_units(quant.half[0]);
  std::int64_t left = run;
  for (std::int64_t s = 1; s <= quant.half[0].steps; ++s, a += kSegmentBytes) {
    streams.begin(packed_zero<kRead>);
    for (int half = 0; half < 2; ++half) {
#pragma GCC unroll 4
      for (int line = 0; line < Pairs::kLines; ++line) {
        const std::int64_t at = (half * Pairs::kLines + line) * kLineBytes;
        for (int tile = 0; tile < kTiles; ++tile) streams.bring(tile, at, at + kLineBytes);
#pragma GCC unroll 4
        for (int pair = 0; pair < Pairs::kPairs; pair += Pairs::kAtOnce)
#pragma GCC unroll 8
          for (int tile = 0; tile < kTiles; ++tile) {
            __m512bh w[Pairs::kAtOnce];
            pairs(streams.walks[tile].codes + at, pair, streams.walks[tile].of(half).offset, w);
#pragma GCC unroll 2
            for (int i = 0; i < Pairs::kAtOnce; ++i)
#pragma GCC unroll 8
              for (int r = 0; r < R; ++r)
                sum[r][tile] =
                    _mm512_dpbf16_ps(sum[r][tile], w[i],
                                     pair_of(a + r * kLineBytes + half * 32 + (line * Pairs::kPairs + pair + i) * 4));
          }
      }
      if (--left != 0 && (half == 0 || s != quant.half[0].steps)) continue;
      left = run;
      end_run(half);
    }
    streams.end();
  }
  for (int r = 0; r < R; ++r)
    for (int tile = 0; tile < kTiles; ++tile)
      store(c + (tile / 2 * kFusedRows + r) * kPanelColumns + tile % 2 * 16, total[r][tile]);
}

/// Up to kFusedRows rows of one block of A, as fused_panels.
template <Read kRead>
void code_panels(const QuantPanels& quant, const std::byte* panel, [[maybe_unused]] std::int64_t panels,
                 const std::byte* following, const std::byte* a, std::int64_t rows, float* c) noexcept {
  with_rows<1, 2, 3, kFusedRows, 6, kCodeRows>(rows, [&](auto count) {
    if constexpr (CodePairs<kRead>::kNibbles && count() <= kFusedRows)
      if (panels == 2) return code_rows<kRead, count(), 2>(quant, panel, following, a, c);
    code_rows<kRead, count(), 1>(quant, panel, following, a, c);
  });
}

}  // namespace
}  // namespace moekit::cpu
