// SPDX-License-Identifier: Apache-2.0
// The vector work on a row of an accumulator block: activation, weighted sum, and the last conversion to y.
#pragma once

#include <algorithm>

#include "backends/cpu/activation.h"
#include "backends/cpu/gather.h"
#include "backends/cpu/kernels.h"
#include "backends/cpu/layout.h"
#include "backends/cpu/vec.h"

namespace moekit::cpu {
namespace {

/// 32 accumulators (16 gate and 16 up, or 32 of an ungated form) to a row of A of the down-projection.
template <class To, bool kSilu>
struct UpRow {
  const float* c = nullptr;
  const float* bias = nullptr;  // [32] of this panel
  std::byte* h = nullptr;       // row 0, the line and column where this panel's output begins
  std::int64_t h_block_bytes = 0;
  const ActivationParams* params = nullptr;
  bool gated = true;
  bool nibble_order = false;

  MOEKIT_INLINE void put(std::byte* at, F16 v) const {
    auto* to = reinterpret_cast<To*>(at);
    store_row(to, v);
    if constexpr (sizeof(To) == 2)
      if (nibble_order) to_nibble_order(to);
  }

  MOEKIT_INLINE void expect(std::int64_t, std::int64_t) const {}
  MOEKIT_INLINE void operator()(std::int64_t r) const {
    F16 g = load<F16>(c + r * kPanelColumns), u = load<F16>(c + r * kPanelColumns + 16);
    if (bias != nullptr) {
      g = g + load<F16>(bias);
      u = u + load<F16>(bias + 16);
    }
    std::byte* row = h + r / kBlockRows * h_block_bytes + r % kBlockRows * kLineBytes;
    if constexpr (kSilu) {
      put(row, sigmoid_times(g, g) * u);
    } else if (gated) {
      put(row, activate(*params, g, u));
    } else {
      put(row, activate(*params, g, g));
      // The second half of 32 plain columns: 16 elements on, in this line or the next segment.
      constexpr std::int64_t kHalf = sizeof(To) == 2 ? 16 * sizeof(To) : kSegmentBytes;
      put(row + kHalf, activate(*params, u, u));
    }
  }
};

/// 32 accumulators, weighted, onto the output row of their token.
struct DownRow {
  const float* c = nullptr;
  const float* bias = nullptr;
  const std::int32_t* token = nullptr;
  const float* weight = nullptr;
  float* out = nullptr;  // column 0 of this panel
  std::int64_t out_stride = 0, first = 0;

  MOEKIT_INLINE float* target(std::int64_t r) const {
    return out + (token != nullptr ? token[r] : first + r) * out_stride;
  }
  /// `count` output rows from `begin` on will be wanted soon.
  MOEKIT_INLINE void expect(std::int64_t begin, std::int64_t count) const {
    for (std::int64_t r = begin; r < begin + count; ++r) {
      __builtin_prefetch(target(r), 1);
      __builtin_prefetch(target(r) + 16, 1);
    }
  }
  MOEKIT_INLINE void operator()(std::int64_t r) const {
    F16 c0 = load<F16>(c + r * kPanelColumns), c1 = load<F16>(c + r * kPanelColumns + 16);
    if (bias != nullptr) {
      c0 = c0 + load<F16>(bias);
      c1 = c1 + load<F16>(bias + 16);
    }
    float* row = target(r);
    const float w = weight != nullptr ? weight[r] : 1.0f;
    store(row, multiply_add(c0, w, load<F16>(row)));
    store(row + 16, multiply_add(c1, w, load<F16>(row + 16)));
  }
};

template <class To>
void finish_as(const FinishArgs& args) noexcept {
  // Sixteen rows at a time: the panels of a row lie far apart, the rows of a panel side by side.
  for (std::int64_t begin = 0; begin < args.rows; begin += kBlockRows)
    for (std::int64_t n = args.first; n < args.last; ++n)
      for (std::int64_t r = begin; r < std::min(begin + kBlockRows, args.rows); ++r) {
        const float* row = args.out + n * args.out_panel + r * kPanelColumns;
        To* y = static_cast<To*>(args.y) + r * args.y_stride + n * kPanelColumns;
        for (std::int64_t c = 0; c < kPanelColumns; c += 16) {
          const std::int64_t left = args.columns - n * kPanelColumns - c;
          if (left >= 16) {
            store_row(y + c, one_nan(load<F16>(row + c)));
          } else {  // the accumulators are padded to whole panels, y is not
            To tail[16];
            store_row(tail, one_nan(load<F16>(row + c)));
            for (std::int64_t i = 0; i < left; ++i) y[c + i] = tail[i];
          }
        }
      }
}

inline void finish(const FinishArgs& args) noexcept {
  if (args.dtype == DType::kBFloat16) return finish_as<std::uint16_t>(args);
  finish_as<float>(args);
}

}  // namespace
}  // namespace moekit::cpu
