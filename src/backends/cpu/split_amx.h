// SPDX-License-Identifier: Apache-2.0
// The six products of parts (split_rows.h) on AMX: 32 rows x 32 columns at once, tiles as in gemm_amx.h.
#pragma once

#include "backends/cpu/gemm_amx.h"
#include "backends/cpu/split_rows.h"

namespace moekit::cpu {
namespace {

struct SplitAmx {
  static constexpr std::int64_t kGroup = 2 * kBlockRows;

  /// Part p of the rows.
  template <bool kTwo>
  MOEKIT_INLINE static void load_a(const std::byte* a0, const std::byte* a1, int p) {
    _tile_loadd(4, a0 + p * kSegmentBytes, kLineBytes);
    if constexpr (kTwo) _tile_loadd(5, a1 + p * kSegmentBytes, kLineBytes);
  }
  /// Part p of the weights.
  MOEKIT_INLINE static void load_b(const std::byte* b, int p) {
    _tile_loadd(6, b + p * kStepBytes, kLineBytes);
    _tile_loadd(7, b + p * kStepBytes + kSegmentBytes, kLineBytes);
  }
  template <bool kTwo>
  MOEKIT_INLINE static void products() {
    _tile_dpbf16ps(0, 4, 6);
    _tile_dpbf16ps(1, 4, 7);
    if constexpr (kTwo) {
      _tile_dpbf16ps(2, 5, 6);
      _tile_dpbf16ps(3, 5, 7);
    }
  }

  /// 24 products of tiles with 14 loads: from each product of parts to the next one operand stays. The smallest comes
  /// first and the largest last. In order of size all through they would take 20 loads, and errors would be the same to
  /// three digits (computed for normal, wide and cancelling numbers): beyond the first steps the sum is larger than all
  /// six.
  template <bool kTwo>
  MOEKIT_INLINE static void steps(const std::byte* a0, const std::byte* a1, const std::byte* b, std::int64_t count,
                                  Upcoming upcoming, std::int64_t lines) {
    constexpr int kHigh = 0, kMiddle = 1, kLow = 2;
    for (std::int64_t s = 0; s < count; ++s) {
      upcoming.step(lines);
      load_a<kTwo>(a0, a1, kHigh);
      load_b(b, kLow);
      products<kTwo>();
      load_b(b, kMiddle);
      products<kTwo>();
      load_a<kTwo>(a0, a1, kMiddle);
      products<kTwo>();
      load_b(b, kHigh);
      products<kTwo>();
      load_a<kTwo>(a0, a1, kLow);
      products<kTwo>();
      load_a<kTwo>(a0, a1, kHigh);
      products<kTwo>();
      a0 += kParts * kSegmentBytes;
      if constexpr (kTwo) a1 += kParts * kSegmentBytes;
      b += kParts * kStepBytes;
    }
  }

  /// c (+)= A b for up to two blocks of rows, block_bytes apart, and `count` steps that were split. `upcoming`: what to
  /// bring meanwhile.
  MOEKIT_INLINE static void block(const std::byte* a, std::int64_t block_bytes, std::int64_t rows, const std::byte* b,
                                  std::int64_t count, float* c, bool accumulate, const Upcoming& upcoming) {
    const bool two = rows > kBlockRows;
    const std::int64_t lines = upcoming.each(1, count);
    amx_see_stores();
    accumulate ? AmxGemm::resume(two, c) : AmxGemm::begin(two);
    if (two) {
      steps<true>(a, a + block_bytes, b, count, upcoming, lines);
    } else {
      steps<false>(a, a, b, count, upcoming, lines);
    }
    AmxGemm::end(two, c);
  }
};

}  // namespace
}  // namespace moekit::cpu
