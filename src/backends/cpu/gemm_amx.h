// SPDX-License-Identifier: Apache-2.0
// bfloat16 tile products of AMX: 32 rows x 32 columns at once, one kernel for every number of rows. The unit sums the
// even and the odd k of a tile apart and adds both to the accumulator, whatever the number of rows: with a fixed order
// of steps the result does not depend on the batch.
#pragma once

#include <immintrin.h>

#include "backends/cpu/kernels.h"
#include "backends/cpu/layout.h"
#include "backends/cpu/vec.h"

namespace moekit::cpu {
namespace {

/// All eight tiles 16 rows x 64 bytes: 0-3 accumulators, 4 and 5 activations, 6 and 7 weights. Rows beyond the batch
/// are multiplied too and never stored into results.
struct alignas(64) TileConfig {
  std::uint8_t palette = 1, start_row = 0, reserved[14] = {};
  std::uint16_t column_bytes[16] = {64, 64, 64, 64, 64, 64, 64, 64};
  std::uint8_t rows[16] = {16, 16, 16, 16, 16, 16, 16, 16};
};
// Constant data, not a local: the intrinsic tells the compiler of its first eight bytes only, and stores to the rest of
// a local would be dropped.
constexpr TileConfig kTileConfig;
inline void amx_enter() noexcept { _tile_loadconfig(&kTileConfig); }
inline void amx_leave() noexcept { _tile_release(); }
/// Between stores and the tile loads that read them: GCC's intrinsics do not tell the compiler that they read memory,
/// so that it may delay the stores, or leave out those to a local.
MOEKIT_INLINE void amx_see_stores() noexcept { __asm__ volatile("" ::: "memory"); }

struct AmxGemm {
  using Activation = std::uint16_t;
  static constexpr std::int64_t kGroup = 2 * kBlockRows;
  static constexpr std::int64_t kSegments = 1;
  static constexpr std::int64_t kSliceSteps = 0;
  // With one row group a panel is read once, front to back: prefetch it this far ahead of itself (2-3 KiB measured
  // best; the hint is t1, since lines must wait in the second-level cache for the neighbours' prefetcher to follow).
  static constexpr std::int64_t kOwnDistance = 3072;
  static constexpr std::int64_t kPage = 4096;
  static constexpr std::int64_t kRowBytes = kPanelColumns * sizeof(float);  // of accumulators

  /// Walks a panel one line of each 4 KiB page in turn: every page becomes a stream of its own for the hardware
  /// prefetcher, which then runs ahead of these prefetches.
  struct PageWalk {
    const char *at, *end;
    std::int64_t back;
    MOEKIT_INLINE void line() {
      _mm_prefetch(at, _MM_HINT_T1);
      at += kPage;
      if (at >= end) at -= back;
    }
  };

  /// kLines prefetches a step.
  template <bool kTwo, int kLines, bool kOwn, class Side>
  MOEKIT_INLINE static void steps(const std::byte*& a0, const std::byte*& a1, const std::byte*& b, std::int64_t count,
                                  std::int64_t total, PageWalk& walk, Side& side) {
    for (std::int64_t s = 0; s < count; ++s) {
      _tile_loadd(6, b, kLineBytes);
      _tile_loadd(4, a0, kLineBytes);
      _tile_loadd(7, b + kSegmentBytes, kLineBytes);
      _tile_dpbf16ps(0, 4, 6);
      if constexpr (kTwo) _tile_loadd(5, a1, kLineBytes);
#pragma GCC unroll 32
      for (int i = 0; i < kLines; ++i) {
        if constexpr (kOwn) {
          _mm_prefetch(reinterpret_cast<const char*>(b) + kOwnDistance + i * kLineBytes, _MM_HINT_T1);
        } else {
          walk.line();
        }
      }
      _tile_dpbf16ps(1, 4, 7);
      if constexpr (kTwo) {
        _tile_dpbf16ps(2, 5, 6);
        _tile_dpbf16ps(3, 5, 7);
      }
      side.step(total);
      a0 += kSegmentBytes;
      if constexpr (kTwo) a1 += kSegmentBytes;
      b += kStepBytes;
    }
  }

  template <bool kTwo, class Prefetch, class Side>
  MOEKIT_INLINE static void multiply(const std::byte* a0, const std::byte* a1, const std::byte* b, std::int64_t total,
                                     const Prefetch& prefetch, std::int64_t group, Side& side) {
    PageWalk walk{nullptr, nullptr, 0};
    if (prefetch.groups == 1) return steps<kTwo, 32, true>(a0, a1, b, total, total, walk, side);
    // Lines a step, so that the groups together cover the 32 lines of every step of the next panel, evenly.
    const int lines = prefetch.groups == 2 ? 16 : prefetch.groups <= 4 ? 12 : prefetch.groups <= 7 ? 8 : 4;
    const std::int64_t all = total * 32, done = group * total * lines;
    const std::int64_t count =
        prefetch.next != nullptr && done < all ? std::min(total, ceil_div(all - done, lines)) : 0;
    const std::int64_t pages = ceil_div(total * kStepBytes, kPage);
    const char* next = reinterpret_cast<const char*>(prefetch.next);
    walk = {next + done % pages * kPage + done / pages * kLineBytes, next + done / pages * kLineBytes + pages * kPage,
            pages * kPage - kLineBytes};
    switch (lines) {
      case 16: steps<kTwo, 16, false>(a0, a1, b, count, total, walk, side); break;
      case 12: steps<kTwo, 12, false>(a0, a1, b, count, total, walk, side); break;
      case 8: steps<kTwo, 8, false>(a0, a1, b, count, total, walk, side); break;
      default: steps<kTwo, 4, false>(a0, a1, b, count, total, walk, side); break;
    }
    steps<kTwo, 0, false>(a0, a1, b, total - count, total, walk, side);
  }

  MOEKIT_INLINE static void begin(bool two) {
    _tile_zero(0);
    _tile_zero(1);
    if (two) {
      _tile_zero(2);
      _tile_zero(3);
    }
  }
  /// As begin, with what end stored.
  MOEKIT_INLINE static void resume(bool two, const float* c) {
    if (two) {
      _tile_loadd(2, c + kBlockRows * kPanelColumns, kRowBytes);
      _tile_loadd(3, c + kBlockRows * kPanelColumns + 16, kRowBytes);
    }
    _tile_loadd(0, c, kRowBytes);
    _tile_loadd(1, c + 16, kRowBytes);
  }
  MOEKIT_INLINE static void end(bool two, float* c) {
    if (two) {
      _tile_stored(2, c + kBlockRows * kPanelColumns, kRowBytes);
      _tile_stored(3, c + kBlockRows * kPanelColumns + 16, kRowBytes);
    }
    _tile_stored(0, c, kRowBytes);
    _tile_stored(1, c + 16, kRowBytes);
  }

  template <class Prefetch, class Side>
  MOEKIT_INLINE static void block(const std::byte* a, std::int64_t block_bytes, std::int64_t rows,
                                  const std::byte* panel, std::int64_t total, float* c, const Prefetch& prefetch,
                                  std::int64_t group, Side& side) {
    const bool two = rows > kBlockRows;
    amx_see_stores();
    begin(two);
    if (two) {
      multiply<true>(a, a + block_bytes, panel, total, prefetch, group, side);
    } else {
      multiply<false>(a, a, panel, total, prefetch, group, side);
    }
    end(two, c);
  }

  /// slices(first, count): plain steps, which are read before the next ones are asked for.
  template <class Slices, class Side>
  MOEKIT_INLINE static void sliced(const std::byte* a, std::int64_t block_bytes, std::int64_t rows,
                                   const Slices& slices, std::int64_t total, float* c, Side& side) {
    constexpr std::int64_t kSteps = 8;  // 16 KiB, a third of the first-level cache
    const bool two = rows > kBlockRows;
    PageWalk none{nullptr, nullptr, 0};
    begin(two);
    for (std::int64_t s = 0; s < total; s += kSteps) {
      const std::int64_t count = std::min(kSteps, total - s);
      const std::byte *b = slices(s, count), *a0 = a + s * kSegmentBytes, *a1 = a0 + block_bytes;
      amx_see_stores();
      if (two) {
        steps<true, 0, false>(a0, a1, b, count, total, none, side);
      } else {
        steps<false, 0, false>(a0, a1, b, count, total, none, side);
      }
    }
    end(two, c);
  }
};

}  // namespace
}  // namespace moekit::cpu
