// SPDX-License-Identifier: Apache-2.0
// bfloat16 products of Arm with FEAT_BF16: pairs of rows by BFMMLA, a single one by BFDOT. The architecture defines the
// first as two of the second in the order of k, so that a row has the same bits either way.
#pragma once

#include <algorithm>

#include "backends/cpu/kernels.h"
#include "backends/cpu/layout.h"
#include "backends/cpu/mmla_neon.h"

namespace moekit::cpu {
namespace {

struct NeonBf16Gemm {
  using Activation = std::uint16_t;
  static constexpr std::int64_t kGroup = kBlockRows;
  static constexpr std::int64_t kSliceSteps = 12;  // as in FmaGemm
  static constexpr int kStreamedRows = 0;
  static constexpr bool kBf16Pairs = false;
  static constexpr std::int64_t kSegments = 1;

  /// kPairs pairs of rows through one tile: with two 16 sums, which leave registers for eight pairs of columns.
  template <int kPairs>
  static void pairs(const std::byte* a, const std::byte* tile, std::int64_t steps, float* c, bool accumulate,
                    Upcoming& upcoming, std::int64_t lines) noexcept {
    float32x4_t acc[kPairs][kColumnPairs];
    const auto at = [c](int pair, int row, int columns) { return c + (2 * pair + row) * kPanelColumns + 2 * columns; };
    for (int q = 0; q < kPairs; ++q)
      for (int p = 0; p < kColumnPairs; ++p)
        acc[q][p] = accumulate ? vcombine_f32(vld1_f32(at(q, 0, p)), vld1_f32(at(q, 1, p))) : float32x4_t{};
    for (std::int64_t s = 0; s < steps; ++s, a += kSegmentBytes, tile += kStepBytes) {
      upcoming.step(lines);
#pragma GCC unroll 2
      for (int line = 0; line < 16; line += 2) {
        const MmlaColumns columns(load<U16>(tile + line * kLineBytes), load<U16>(tile + (line + 1) * kLineBytes));
#pragma GCC unroll 2
        for (int q = 0; q < kPairs; ++q) {
          const std::byte* row = a + 2 * q * kLineBytes + line * 4;
          const auto rows = (bfloat16x8_t)mmla_rows(row, row + kLineBytes);
#pragma GCC unroll 8
          for (int p = 0; p < kColumnPairs; ++p)
            acc[q][p] = vbfmmlaq_f32(acc[q][p], rows, (bfloat16x8_t)columns.pair[p]);
        }
      }
    }
    for (int q = 0; q < kPairs; ++q)
      for (int p = 0; p < kColumnPairs; ++p) {
        vst1_f32(at(q, 0, p), vget_low_f32(acc[q][p]));
        vst1_f32(at(q, 1, p), vget_high_f32(acc[q][p]));
      }
  }

  /// One row through both tiles.
  static void row(const std::byte* a, const std::byte* panel, std::int64_t steps, float* c, bool accumulate,
                  Upcoming& upcoming, std::int64_t lines) noexcept {
    float32x4_t acc[8];
    for (int i = 0; i < 8; ++i) acc[i] = accumulate ? vld1q_f32(c + 4 * i) : float32x4_t{};
    for (std::int64_t s = 0; s < steps; ++s, a += kSegmentBytes, panel += kStepBytes) {
      upcoming.step(lines);
#pragma GCC unroll 4
      for (int line = 0; line < 16; ++line) {
        const auto x = (bfloat16x8_t)vdupq_n_u32(load<std::uint32_t>(a + line * 4));
#pragma GCC unroll 8
        for (int i = 0; i < 8; ++i)
          acc[i] = vbfdotq_f32(acc[i],
                               load<bfloat16x8_t>(panel + i / 4 * kSegmentBytes + line * kLineBytes + i % 4 * 16), x);
      }
    }
    for (int i = 0; i < 8; ++i) vst1q_f32(c + 4 * i, acc[i]);
  }

  static void block(const std::byte* a, std::int64_t row_count, const std::byte* panel, std::int64_t steps, float* c,
                    bool accumulate, Upcoming upcoming) noexcept {
    const std::int64_t lines = upcoming.each(mmla_calls(row_count), steps);
    for (std::int64_t r = 0; r < row_count;) {
      const std::int64_t left = row_count - r, count = left >= 4 ? 4 : left >= 2 ? 2 : 1;
      const std::byte* rows = a + r * kLineBytes;
      float* sums = c + r * kPanelColumns;
      r += count;
      if (count == 1) {
        row(rows, panel, steps, sums, accumulate, upcoming, lines);
        continue;
      }
      const auto through = count == 4 ? pairs<2> : pairs<1>;
      for (int tile = 0; tile < 2; ++tile)
        through(rows, panel + tile * kSegmentBytes, steps, sums + tile * kTileColumns, accumulate, upcoming, lines);
    }
  }
};

}  // namespace
}  // namespace moekit::cpu
