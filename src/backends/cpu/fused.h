// SPDX-License-Identifier: Apache-2.0
// A few rows through a quantised panel without unpacking it to memory: weights become float32 in registers, and meet
// the rows there. Sums run in the order of k with the same roundings as FmaGemm on unpacked steps: the same bits.
#pragma once

#include "backends/cpu/kernels.h"
#include "backends/cpu/unpack_tiles.h"

namespace moekit::cpu {
namespace {

/// Rows beyond this unpack once for all instead: four rows' multiply-adds take as long as the unpacking that they
/// share.
constexpr int kFusedRows = 4;
constexpr std::int64_t kFusedAhead = 2048;  // bytes of a stream

template <Read kRead, Form kForm, int R>
void fused_rows(const QuantPanels& quant, const std::byte* panel, const std::byte* a, float* c) {
  F16 acc[R][2] = {};
  const std::byte* streams[2] = {panel, panel + quant.half[0].bytes()};
  std::int64_t block[2] = {0, 0}, in_block[2] = {0, 0};
  const auto* x = reinterpret_cast<const float*>(a);
  for (std::int64_t s = 0; s < quant.half[0].steps; ++s, x += 2 * kSegmentBytes / 4) {
    GroupLanes groups[2][2];
    const std::byte* codes[2];
    for (int half = 0; half < 2; ++half) {
      const TileFormat& format = quant.half[half];
      const std::byte* header = streams[half] + format.head_bytes + block[half] * format.block_bytes();
      codes[half] = header + format.header_bytes + in_block[half] * format.code_bytes;
      // Ahead of itself, past the ends of pages, where the hardware's prefetcher stops.
      for (std::int64_t line = 0; line < format.code_bytes; line += kLineBytes)
        __builtin_prefetch(codes[half] + kFusedAhead + line, 0, 2);
      step_groups(format, streams[half], header, s, in_block[half], groups[half]);
      prepare<kRead>(groups[half][0]);
      prepare<kRead>(groups[half][1]);
      if (++in_block[half] == format.span) ++block[half], in_block[half] = 0;
    }
    for (int j = 0; j < 4; ++j) {
      const GroupLanes &g0 = groups[0][j / 2], &g1 = groups[1][j / 2];
      const float* xj = x + j / 2 * (kSegmentBytes / 4) + j % 2 * 8;
#pragma GCC unroll 8
      for (int i = 0; i < 8; ++i) {
        const F16 w0 = weight_at<kRead, kForm>(codes[0], j, i, g0);
        const F16 w1 = weight_at<kRead, kForm>(codes[1], j, i, g1);
#pragma GCC unroll 4
        for (int r = 0; r < R; ++r) {
          acc[r][0] = multiply_add(w0, xj[r * 16 + i], acc[r][0]);
          acc[r][1] = multiply_add(w1, xj[r * 16 + i], acc[r][1]);
        }
      }
    }
  }
  for (int r = 0; r < R; ++r) {
    store(c + r * kPanelColumns, acc[r][0]);
    store(c + r * kPanelColumns + 16, acc[r][1]);
  }
}

struct Fused {
  const QuantPanels& quant;
  const std::byte *panel, *a;
  std::int64_t rows;
  float* c;
  template <Read kRead, Form kForm>
  void run() const {
    // Blocks of A have 16 rows, of which those beyond the batch may hold anything: three rows go as four.
    if (rows == 1) return fused_rows<kRead, kForm, 1>(quant, panel, a, c);
    if (rows == 2) return fused_rows<kRead, kForm, 2>(quant, panel, a, c);
    fused_rows<kRead, kForm, kFusedRows>(quant, panel, a, c);
  }
};

/// Whether the panel's two streams go through one instance of the kernel.
inline bool can_fuse(const QuantPanels& quant) noexcept {
  const TileFormat &a = quant.half[0], &b = quant.half[1];
  return read_of(a) == read_of(b) && form_of(a.weight) == form_of(b.weight) && !a.by_column && !b.by_column;
}

/// 32 accumulators of each of at most kFusedRows rows of one block of A.
inline void fused_panel(const QuantPanels& quant, const std::byte* panel, const std::byte* a, std::int64_t rows,
                        float* c) noexcept {
  dispatch_format(quant.half[0], Fused{quant, panel, a, rows, c});
}

}  // namespace
}  // namespace moekit::cpu
