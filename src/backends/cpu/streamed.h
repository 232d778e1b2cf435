// SPDX-License-Identifier: Apache-2.0
// A few rows through plain panels: one panel, or two side by side, is read front to back, and what lies ahead
// of each is brought in line by line. Sums run in the order of the Gemm, with its roundings: the same bits.
#pragma once

#include <algorithm>

#include "backends/cpu/few_rows.h"
#include "backends/cpu/layout.h"
#include "backends/cpu/stream_walk.h"
#include "backends/cpu/vec.h"

namespace moekit::cpu {
namespace {

/// R rows through P panels, one after the other in memory. Panel p's accumulators are kFusedRows rows from those of
/// p - 1.
template <class Gemm, int R, int P>
void streamed_rows(const std::byte* panel, std::int64_t steps, const std::byte* following, const std::byte* a,
                   float* c) {
  const std::int64_t panel_bytes = steps * kStepBytes;
  F16 acc[R][2 * P] = {};
  typename Gemm::Ahead ahead[P];
  for (int p = 0; p < P; ++p) {
    const std::byte* stream = panel + p * panel_bytes;
    const std::byte* next = following != nullptr ? following + p * panel_bytes : nullptr;
    ahead[p] = typename Gemm::Ahead(stream, panel_bytes, next);
  }
  for (std::int64_t s = 0; s < steps; ++s, panel += kStepBytes, a += Gemm::kSegments * kSegmentBytes) {
    const std::byte* upcoming[P];
    for (int p = 0; p < P; ++p) upcoming[p] = ahead[p].of(panel + p * panel_bytes);
#pragma GCC unroll 16
    for (int line = 0; line < 16; ++line) {  // a k of float32, a pair of k of bfloat16
#pragma GCC unroll 2
      for (int p = 0; p < P; ++p) Gemm::Ahead::bring_lines(upcoming[p] + line * 2 * kLineBytes, 2 * kLineBytes);
#pragma GCC unroll 4
      for (int tile = 0; tile < 2 * P; ++tile) {
        const U16 w = load<U16>(panel + tile / 2 * panel_bytes + tile % 2 * kSegmentBytes + line * kLineBytes);
#pragma GCC unroll 4
        for (int r = 0; r < R; ++r) acc[r][tile] = Gemm::add_line(acc[r][tile], w, a + r * kLineBytes, line);
      }
    }
  }
  for (int r = 0; r < R; ++r)
    for (int tile = 0; tile < 2 * P; ++tile)
      store(c + (tile / 2 * kFusedRows + r) * kPanelColumns + tile % 2 * 16, acc[r][tile]);
}

/// 32 accumulators of each of at most Gemm::kStreamedRows rows, as fused_panels. `panels`: 1 or 2.
template <class Gemm>
void streamed_panels(const std::byte* panel, std::int64_t panels, std::int64_t steps, const std::byte* following,
                     const std::byte* a, std::int64_t rows, float* c) {
  static_assert(Gemm::kStreamedRows <= kFusedRows, "which the distance of two panels' accumulators is");
  with_rows<1, 2, 4>(rows, [&](auto count) {
    constexpr int kCount = std::min(count(), Gemm::kStreamedRows);
    if (panels == 2) return streamed_rows<Gemm, kCount, 2>(panel, steps, following, a, c);
    streamed_rows<Gemm, kCount, 1>(panel, steps, following, a, c);
  });
}

}  // namespace
}  // namespace moekit::cpu
