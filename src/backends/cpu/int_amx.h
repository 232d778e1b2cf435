// SPDX-License-Identifier: Apache-2.0
// Rows of int8 through tiles of AMX: 32 rows x 32 columns x 64 k at once, for groups of whole tiles; the others go to
// the kernel of int_panel.h. Both sum integers exactly and scale groups in the same order.
#pragma once

#include <immintrin.h>

#include "backends/cpu/int_sweep.h"

namespace moekit::cpu {
namespace {

/// What the tiles take. Their codes are signed bytes, so that those of a stream are multiplied where they lie.
inline bool amx_takes(const TileFormat& format, int digits) noexcept {
  return digits == 1 && format.weight.group % 64 == 0;
}

/// Tiles as in gemm_amx.h: 0-3 sums, 4 and 5 rows, 6 and 7 codes.
template <class Dot, Read kRead, Form kForm>
struct AmxIntPanel : IntOperands {
  static constexpr std::int64_t kRows = 2 * kBlockRows;
  static constexpr std::int64_t kTileK = 64;
  std::int64_t count;  // of rows, <= kRows; memory goes on for whole blocks of 16

  struct alignas(64) Scratch {
    std::byte codes[2][kSegmentBytes];
    std::int32_t sums[kRows][kPanelColumns];
    float totals[kRows][kPanelColumns];
  };

  /// Where a tile of codes lies, from `lines` lines of the stream that exist.
  MOEKIT_INLINE static const std::byte* tile(const std::byte* codes, std::int64_t lines, std::byte* out) {
    if constexpr (kRead == Read::kInt8) {
      if (lines == 16) return codes;
      std::memset(out, 0, kSegmentBytes);
      std::memcpy(out, codes, static_cast<std::size_t>(lines * kLineBytes));
    } else {
      std::memset(out, 0, lines == 8 ? 0 : kSegmentBytes);
      for (std::int64_t line = 0; line < lines; ++line) {
        const U16 both = load<U16>(codes + line * kLineBytes);
        for (int high = 0; high < 2; ++high) {
          U16 bytes = both >> (4 * high) & 0x0f0f0f0fu;
          if constexpr (kRead == Read::kE2M1) bytes = Dot::lookup(kE2M1Codes, bytes);
          store(out + (2 * line + high) * kLineBytes, bytes);
        }
      }
    }
    return out;
  }

  /// Sums of a group that has been multiplied, scaled and added.
  MOEKIT_INLINE void finish(std::int64_t g, const GroupLanes (&lanes)[2], Scratch& s) const {
    for (std::int64_t r = 0; r < count; ++r) {
      const std::int32_t start = row<std::int32_t>(r, IntRows::starts_at())[g];
      const float sum = row<float>(r, rows.sums_at())[g];
      for (int half = 0; half < 2; ++half) {
        const I16 sums[1] = {load<I16>(s.sums[r] + 16 * half) + start};
        F16 total = load<F16>(s.totals[r] + 16 * half);
        finish_group<kForm>(sums, lanes[half], sum, total);
        store(s.totals[r] + 16 * half, total);
      }
    }
  }

  void operator()(const std::byte* panel, float* c) const {
    Scratch s;
    std::memset(s.totals, 0, sizeof s.totals);
    const bool two = count > kBlockRows;
    IntWalk walk(quant, panel);
    const std::byte* planes = a + rows.digits_at();
    constexpr std::int64_t kStepLines = kRead == Read::kInt8 ? 8 : 4;
    const std::int64_t per_group =
        quant.half[0].weight.group == 0 ? rows.steps : quant.half[0].weight.group / kQuantStep;
    for (std::int64_t g = 0, left = rows.steps; g < rows.groups; ++g) {
      walk.begin_group();
      _tile_zero(0);
      _tile_zero(1);
      _tile_zero(2);
      _tile_zero(3);
      const std::int64_t steps = std::min(per_group, left);
      for (std::int64_t k = 0; k < steps; k += 2, planes += kTileK) {
        const std::int64_t lines = std::min<std::int64_t>(2, steps - k) * kStepLines;
        _tile_loadd(4, planes, rows.bytes());
        _tile_loadd(6, tile(walk.codes[0] + k * kStepLines * kLineBytes, lines, s.codes[0]), kLineBytes);
        _tile_loadd(7, tile(walk.codes[1] + k * kStepLines * kLineBytes, lines, s.codes[1]), kLineBytes);
        _tile_dpbssd(0, 4, 6);
        _tile_dpbssd(1, 4, 7);
        if (two) {
          _tile_loadd(5, planes + kBlockRows * rows.bytes(), rows.bytes());
          _tile_dpbssd(2, 5, 6);
          _tile_dpbssd(3, 5, 7);
        }
      }
      left -= steps;
      constexpr std::int64_t kStride = kPanelColumns * sizeof(std::int32_t);
      _tile_stored(0, s.sums[0], kStride);
      _tile_stored(1, s.sums[0] + 16, kStride);
      if (two) {
        _tile_stored(2, s.sums[kBlockRows], kStride);
        _tile_stored(3, s.sums[kBlockRows] + 16, kStride);
      }
      const GroupLanes lanes[2] = {walk.template lanes<kRead>(0, g), walk.template lanes<kRead>(1, g)};
      finish(g, lanes, s);
      walk.codes[0] += steps * kStepLines * kLineBytes;
      walk.codes[1] += steps * kStepLines * kLineBytes;
      walk.end_group(2 * steps);
    }
    for (std::int64_t r = 0; r < count; ++r) {
      const F16 total[2] = {load<F16>(s.totals[r]), load<F16>(s.totals[r] + 16)};
      finish_row(r, total, c);
    }
  }
};

template <class Dot>
struct AmxIntSweep {
  template <class Args, class RowWork>
  MOEKIT_INLINE static void run(const Args& args, const RowWork& row_work) {
    const QuantPanels& quant = *args.quant;
    if (!amx_takes(quant.half[0], quant.digits)) return int_sweep<DotPanels<Dot, false>>(args, row_work);
    const IntRows rows(quant.half[0], 1);
    for (std::int64_t n = args.first; n < args.last; ++n) {
      const std::byte* panel = args.panels + n * quant.panel_bytes();
      for (std::int64_t r = 0; r < args.rows; r += 2 * kBlockRows)
        dispatch_int(quant.half[0].weight, [&](auto read, auto form) {
          AmxIntPanel<Dot, decltype(read)::value, decltype(form)::value>{{quant, rows, args.a + r * rows.bytes()},
                                                                         std::min(2 * kBlockRows, args.rows - r)}(
              panel, args.scratch + r * kPanelColumns);
        });
      finish_rows(row_work(n, 0, args.scratch), args.rows);
    }
  }
};

/// Codes that tiles take are signed.
template <class Dot>
void amx_int_gather(const IntGatherArgs& args) noexcept {
  amx_takes(*args.format, args.digits) ? int_gather<true>(args) : int_gather<Dot::kSignedCodes>(args);
}

template <class Dot>
constexpr IntKernels amx_int_kernels() {
  return {amx_int_gather<Dot>, up_sweep<float, AmxIntSweep<Dot>>, down_sweep<AmxIntSweep<Dot>>, false};
}

}  // namespace
}  // namespace moekit::cpu
