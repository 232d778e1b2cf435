// SPDX-License-Identifier: Apache-2.0
// Rows of x to blocks of A.
#pragma once

#include <algorithm>

#include "backends/cpu/kernels.h"
#include "backends/cpu/layout.h"
#include "backends/cpu/vec.h"

namespace moekit::cpu {
namespace {

MOEKIT_INLINE F16 load_row(const float* p) { return load<F16>(p); }
MOEKIT_INLINE F16 load_row(const std::uint16_t* p) { return from_bf16(load<H16>(p)); }
MOEKIT_INLINE void store_row(float* p, F16 v) { store(p, v); }
MOEKIT_INLINE void store_row(std::uint16_t* p, F16 v) { store(p, to_bf16(v)); }

/// Sixteen bfloat16 of A.
MOEKIT_INLINE void to_nibble_order(std::uint16_t* a) {
  using Eight = std::uint16_t __attribute__((vector_size(16)));
  for (int half = 0; half < 2; ++half) {
    const auto k = load<Eight>(a + half * 8);
    store(a + half * 8, MOEKIT_SHUFFLE(k, k, 0, 4, 1, 5, 2, 6, 3, 7));
  }
}

/// Sixteen columns of a row; scaled rows are rounded to the dtype of x, as a framework's w * x is.
template <class From, class To>
MOEKIT_INLINE void gather16(const From* x, const float* scale, To* a) {
  if constexpr (sizeof(From) == sizeof(To)) {
    if (scale == nullptr) {
      std::memcpy(a, x, 16 * sizeof(To));
      return;
    }
  }
  F16 v = load_row(x);
  if (scale != nullptr) {
    v = v * *scale;
    if constexpr (sizeof(From) == 2) v = from_bf16(to_bf16(v));
  }
  store_row(a, v);
}

/// Sixteen rows at a time: the writes are sequential and sixteen read streams are open. Row after row, with writes
/// 1 KiB apart, would hit four sets of the first-level cache only.
template <class From, class To>
void gather(const GatherArgs& args) noexcept {
  constexpr std::int64_t kColumns = kLineBytes / static_cast<std::int64_t>(sizeof(To));  // of a segment
  const auto* x = static_cast<const From*>(args.x);
  for (std::int64_t first = 0; first < args.rows; first += kBlockRows) {
    const std::int64_t rows = std::min(kBlockRows, args.rows - first);
    std::byte* block = args.a + first / kBlockRows * args.segments * kSegmentBytes;
    const From* source[kBlockRows];
    for (std::int64_t r = 0; r < rows; ++r)
      source[r] = x + (args.token != nullptr ? args.token[first + r] : first + r) * args.row_stride;
    for (std::int64_t segment = 0; segment < args.segments; ++segment) {
      const std::int64_t column = segment * kColumns;
      for (std::int64_t r = 0; r < rows; ++r) {
        To* a = reinterpret_cast<To*>(block + segment * kSegmentBytes + r * kLineBytes);
        const float* scale = args.scale != nullptr ? args.scale + first + r : nullptr;
        for (std::int64_t c = 0; c < kColumns; c += 16) {
          const std::int64_t left = args.columns - column - c;
          if (left >= 16) {
            gather16(source[r] + column + c, scale, a + c);
          } else {  // the tail of the row, then zeros
            From tail[16] = {};
            for (std::int64_t i = 0; i < left; ++i) tail[i] = source[r][column + c + i];
            gather16(tail, scale, a + c);
          }
          if constexpr (sizeof(To) == 2)
            if (args.nibble_order) to_nibble_order(a + c);
        }
      }
    }
  }
}

}  // namespace
}  // namespace moekit::cpu
