// SPDX-License-Identifier: Apache-2.0
// Rows of integers through tiles of AMX, for groups of whole tiles; the others, and few rows, go to the kernel of
// int_panel.h. Both sum integers exactly and scale groups in the same order.
#pragma once

#include <immintrin.h>

#include "backends/cpu/gemm_amx.h"
#include "backends/cpu/int_sweep.h"

namespace moekit::cpu {
namespace {

/// Formats of which groups are whole tiles. Tiles multiply codes as signed bytes, the kernel for few rows as unsigned
/// ones, for which the rows are made (int_gather.h): of int8, tiles leave out what the rows start from, which must be
/// nothing but that.
inline bool amx_takes(const TileFormat& format) noexcept {
  return format.weight.group % 64 == 0 && (format.weight.code != Code::kInt8 || format.weight.zero == 0);
}

/// Tiles as in gemm_amx.h. One digit: 0-3 sums of two blocks of rows, 4 and 5 rows, 6 and 7 codes. Three digits: 0-5
/// sums of one block, two a digit, 6 its rows, 7 codes.
template <class Dot, Read kRead, Form kForm, int kDigits>
struct AmxIntPanel : IntOperands {
  static constexpr std::int64_t kRows = (kDigits == 1 ? 2 : 1) * kBlockRows;
  static constexpr std::int64_t kTileK = 64;
  std::int64_t count;  // of rows, <= kRows; memory goes on for whole blocks of 16

  struct alignas(64) Scratch {
    std::byte codes[2][kSegmentBytes];
    std::int32_t sums[kDigits][kRows][kPanelColumns];
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

  /// 64 k of the rows and of both tiles of codes.
  MOEKIT_INLINE void multiply(const std::byte* planes, const std::byte* codes0, const std::byte* codes1) const {
    if constexpr (kDigits == 1) {
      _tile_loadd(4, planes, rows.bytes());
      _tile_loadd(6, codes0, kLineBytes);
      _tile_loadd(7, codes1, kLineBytes);
      _tile_dpbssd(0, 4, 6);
      _tile_dpbssd(1, 4, 7);
      if (count > kBlockRows) {
        _tile_loadd(5, planes + kBlockRows * rows.bytes(), rows.bytes());
        _tile_dpbssd(2, 5, 6);
        _tile_dpbssd(3, 5, 7);
      }
    } else {
      static_assert(kDigits == 3);
      _tile_loadd(6, planes, rows.bytes());
      _tile_loadd(7, codes0, kLineBytes);
      _tile_dpbssd(0, 6, 7);
      _tile_loadd(7, codes1, kLineBytes);
      _tile_dpbssd(1, 6, 7);
      _tile_loadd(6, planes + rows.plane_bytes(), rows.bytes());
      _tile_dpbssd(3, 6, 7);
      _tile_loadd(7, codes0, kLineBytes);
      _tile_dpbssd(2, 6, 7);
      _tile_loadd(6, planes + 2 * rows.plane_bytes(), rows.bytes());
      _tile_dpbssd(4, 6, 7);
      _tile_loadd(7, codes1, kLineBytes);
      _tile_dpbssd(5, 6, 7);
    }
  }
  MOEKIT_INLINE static void zero_sums() {
    AmxGemm::begin(true);
    if constexpr (kDigits == 3) {
      _tile_zero(4);
      _tile_zero(5);
    }
  }
  MOEKIT_INLINE void store_sums(Scratch& s) const {
    constexpr std::int64_t kStride = kPanelColumns * sizeof(std::int32_t);
    _tile_stored(0, s.sums[0][0], kStride);
    _tile_stored(1, s.sums[0][0] + 16, kStride);
    if constexpr (kDigits == 3) {
      _tile_stored(2, s.sums[1][0], kStride);
      _tile_stored(3, s.sums[1][0] + 16, kStride);
      _tile_stored(4, s.sums[2][0], kStride);
      _tile_stored(5, s.sums[2][0] + 16, kStride);
    } else if (count > kBlockRows) {
      _tile_stored(2, s.sums[0][kBlockRows], kStride);
      _tile_stored(3, s.sums[0][kBlockRows] + 16, kStride);
    }
  }

  /// Sums of a group that has been multiplied, scaled and added.
  MOEKIT_INLINE void finish(std::int64_t g, const GroupLanes (&lanes)[2], Scratch& s) const {
    constexpr bool kStarts = kRead != Read::kInt8 || Dot::kSignedCodes;
    for (std::int64_t r = 0; r < count; ++r) {
      const auto* starts = row<std::int32_t>(r, IntRows::starts_at()) + g * kDigits;
      const float sum = row<float>(r, rows.sums_at())[g];
      for (int half = 0; half < 2; ++half) {
        I16 sums[kDigits];
#pragma GCC unroll 3
        for (int d = 0; d < kDigits; ++d) sums[d] = load<I16>(s.sums[d][r] + 16 * half) + (kStarts ? starts[d] : 0);
        F16 total = load<F16>(s.totals[r] + 16 * half);
        finish_group<kForm>(sums, lanes[half], sum, total);
        store(s.totals[r] + 16 * half, total);
      }
    }
  }

  /// `first`: the panel comes from memory, and what lies ahead is brought in. `following`: what is read next, or null.
  void operator()(const std::byte* panel, const std::byte* following, bool first, float* c) const {
    Scratch s;
    std::memset(s.totals, 0, sizeof s.totals);
    IntWalk walk(quant, panel);
    if (first) walk.read_once(following);
    const std::byte* planes = a + rows.digits_at();
    constexpr std::int64_t kStepBytes = (kRead == Read::kInt8 ? 8 : 4) * kLineBytes;
    const std::int64_t per_group =
        quant.half[0].weight.group == 0 ? rows.steps : quant.half[0].weight.group / kQuantStep;
    for (std::int64_t g = 0, left = rows.steps; g < rows.groups; ++g) {
      walk.begin_group();
      zero_sums();
      const std::int64_t steps = std::min(per_group, left);
      for (std::int64_t k = 0; k < steps; k += 2, planes += kTileK) {
        const std::int64_t bytes = std::min<std::int64_t>(2, steps - k) * kStepBytes;
        if (first)
          for (int half = 0; half < 2; ++half) walk.ahead[half].bring(walk.codes[half], walk.codes[half] + bytes);
        const std::byte* codes0 = tile(walk.codes[0], bytes / kLineBytes, s.codes[0]);
        const std::byte* codes1 = tile(walk.codes[1], bytes / kLineBytes, s.codes[1]);
        amx_see_stores();
        multiply(planes, codes0, codes1);
        walk.codes[0] += bytes;
        walk.codes[1] += bytes;
      }
      left -= steps;
      store_sums(s);
      const GroupLanes lanes[2] = {walk.template lanes<kRead>(0, g), walk.template lanes<kRead>(1, g)};
      finish(g, lanes, s);
      walk.end_group(2 * steps);
    }
    for (std::int64_t r = 0; r < count; ++r) {
      const F16 total[2] = {load<F16>(s.totals[r]), load<F16>(s.totals[r] + 16)};
      finish_row(r, total, c);
    }
  }
};

/// Sums are exact: rows that one pass of the kernel of int_panel.h takes go there, and have the bits that tiles give.
template <class Dot>
struct AmxPanels {
  template <int kDigits>
  MOEKIT_INLINE static void tiles(const QuantPanels& quant, const std::byte* panel, const std::byte* following,
                                  const std::byte* a, std::int64_t count, float* c) {
    const IntRows rows(quant.half[0], kDigits);
    dispatch_int(quant.half[0].weight, [&](auto read, auto form) {
      using Panel = AmxIntPanel<Dot, decltype(read)::value, decltype(form)::value, kDigits>;
      for (std::int64_t r = 0; r < count; r += Panel::kRows)
        Panel{{quant, rows, a + r * rows.bytes()}, std::min(Panel::kRows, count - r)}(panel, following, r == 0,
                                                                                      c + r * kPanelColumns);
    });
  }
  MOEKIT_INLINE static void multiply(const QuantPanels& quant, const std::byte* panel, const std::byte* following,
                                     const std::byte* a, std::int64_t count, float* c) {
    if (count <= Dot::kRows || !amx_takes(quant.half[0]))
      return DotPanels<Dot, every_format>::multiply(quant, panel, following, a, count, c);
    quant.digits == 1 ? tiles<1>(quant, panel, following, a, count, c)
                      : tiles<kFixedPointDigits>(quant, panel, following, a, count, c);
  }
};

template <class Dot>
constexpr IntKernels amx_int_kernels() {
  using Sweep = IntSweep<AmxPanels<Dot>>;
  return {int_gather<Dot::kSignedCodes>, up_sweep<float, Sweep>, down_sweep<Sweep>, amx_takes};
}

}  // namespace
}  // namespace moekit::cpu
