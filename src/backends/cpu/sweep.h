// SPDX-License-Identifier: Apache-2.0
// Sweeps of activation blocks over panels, with the vector work of a block (activation, weighted sum) done while the
// next block is multiplied: a Gemm with a matrix unit calls the side job from its inner loop, so that the unit does not
// idle; the others leave it to finish().
//
// A Gemm provides
//   kGroup                      rows that it multiplies at once
//   Activation                  element type of A: float or uint16_t (bfloat16)
//   kSegments                   segments of A a step
//   block(a, block_bytes, rows, panel, steps, c, prefetch, side)   c [rows, 32] = A panel
#pragma once

#include <algorithm>

#include "backends/cpu/activation.h"
#include "backends/cpu/gather.h"
#include "backends/cpu/kernels.h"
#include "backends/cpu/layout.h"
#include "backends/cpu/vec.h"

namespace moekit::cpu {
namespace {

/// Which weights to bring into the second-level cache in the course of a panel.
struct Prefetch {
  const std::byte* next = nullptr;  // the panel after this one
  std::int64_t groups = 0;          // row groups that sweep this panel: each brings its share
};

/// Rows of a stored accumulator block that still wait for their vector work, spread over the next `steps` steps.
template <class Row>
struct SideJob {
  Row row;
  std::int64_t next = 0, rows = 0, credit = 0;

  MOEKIT_INLINE void step(std::int64_t steps) {
    for (credit += rows; credit >= steps && next < rows; credit -= steps) row(next++);
  }
  MOEKIT_INLINE void finish() {
    while (next < rows) row(next++);
  }
};

template <class To, bool kSilu>
struct UpRow {
  const float* c = nullptr;
  const float* bias = nullptr;  // [32] of this panel
  std::byte* h = nullptr;       // row 0, the line and column where this panel's output begins
  std::int64_t h_block_bytes = 0;
  const ActivationParams* params = nullptr;
  bool gated = true;

  MOEKIT_INLINE void operator()(std::int64_t r) const {
    F16 g = load<F16>(c + r * kPanelColumns), u = load<F16>(c + r * kPanelColumns + 16);
    if (bias != nullptr) {
      g = g + load<F16>(bias);
      u = u + load<F16>(bias + 16);
    }
    std::byte* row = h + r / kBlockRows * h_block_bytes + r % kBlockRows * kLineBytes;
    if constexpr (kSilu) {
      store_row(reinterpret_cast<To*>(row), sigmoid_times(g, g) * u);
    } else if (gated) {
      store_row(reinterpret_cast<To*>(row), activate(*params, g, u));
    } else {
      store_row(reinterpret_cast<To*>(row), activate(*params, g, g));
      // The second half of 32 plain columns: 16 elements on, in this line or the next segment.
      constexpr std::int64_t kHalf = sizeof(To) == 2 ? 16 * sizeof(To) : kSegmentBytes;
      store_row(reinterpret_cast<To*>(row + kHalf), activate(*params, u, u));
    }
  }
};

template <class Gemm, bool kSilu>
void up_sweep_as(const UpArgs& args) noexcept {
  using To = typename Gemm::Activation;
  const std::int64_t block_bytes = args.steps * Gemm::kSegments * kSegmentBytes;
  const std::int64_t h_block_bytes = args.h_segments * kSegmentBytes;
  const std::int64_t panel_bytes = args.steps * kStepBytes;
  const std::int64_t groups = ceil_div(args.rows, Gemm::kGroup);
  const bool gated = is_gated(args.activation.act);
  // Output bytes of a row that a panel makes: 16 columns of a gated form, 32 of an ungated one.
  const std::int64_t panel_row_bytes = (gated ? 16 : 32) * static_cast<std::int64_t>(sizeof(To));
  SideJob<UpRow<To, kSilu>> side;
  std::int64_t flip = 0;
  for (std::int64_t n = args.first; n < args.last; ++n) {
    const std::byte* panel = args.panels + n * panel_bytes;
    const Prefetch prefetch{n + 1 < args.last ? panel + panel_bytes : args.next, groups};
    const std::int64_t at = n * panel_row_bytes;
    std::byte* h = args.h + at / kLineBytes * kSegmentBytes + at % kLineBytes;
    for (std::int64_t m = 0; m < groups; ++m) {
      const std::int64_t first = m * Gemm::kGroup, rows = std::min<std::int64_t>(Gemm::kGroup, args.rows - first);
      float* c = args.scratch + (flip ^= 1) * 1024;
      Gemm::block(args.a + first / kBlockRows * block_bytes, block_bytes, rows, panel, args.steps, c, prefetch, m,
                  side);
      side.finish();
      const float* bias = args.bias != nullptr ? args.bias + n * kPanelColumns : nullptr;
      side = {{c, bias, h + first / kBlockRows * h_block_bytes, h_block_bytes, &args.activation, gated}, 0, rows, 0};
    }
  }
  side.finish();
}

template <class Gemm>
void up_sweep(const UpArgs& args) noexcept {
  if (args.activation.act == Activation::kSilu && args.bias == nullptr) return up_sweep_as<Gemm, true>(args);
  return up_sweep_as<Gemm, false>(args);
}

struct DownRow {
  const float* c = nullptr;
  const float* bias = nullptr;
  const std::int32_t* token = nullptr;
  const float* weight = nullptr;
  float* out = nullptr;  // column 0 of this panel
  std::int64_t out_stride = 0, first = 0;

  MOEKIT_INLINE void operator()(std::int64_t r) const {
    F16 c0 = load<F16>(c + r * kPanelColumns), c1 = load<F16>(c + r * kPanelColumns + 16);
    if (bias != nullptr) {
      c0 = c0 + load<F16>(bias);
      c1 = c1 + load<F16>(bias + 16);
    }
    float* row = out + (token != nullptr ? token[r] : first + r) * out_stride;
    const float w = weight != nullptr ? weight[r] : 1.0f;
    store(row, load<F16>(row) + c0 * w);
    store(row + 16, load<F16>(row + 16) + c1 * w);
  }
};

template <class Gemm>
void down_sweep(const DownArgs& args) noexcept {
  const std::int64_t block_bytes = args.steps * Gemm::kSegments * kSegmentBytes;
  const std::int64_t panel_bytes = args.steps * kStepBytes;
  const std::int64_t groups = ceil_div(args.rows, Gemm::kGroup);
  SideJob<DownRow> side;
  std::int64_t flip = 0;
  for (std::int64_t n = args.first; n < args.last; ++n) {
    const std::byte* panel = args.panels + n * panel_bytes;
    const Prefetch prefetch{n + 1 < args.last ? panel + panel_bytes : args.next, groups};
    for (std::int64_t m = 0; m < groups; ++m) {
      const std::int64_t first = m * Gemm::kGroup, rows = std::min<std::int64_t>(Gemm::kGroup, args.rows - first);
      const std::int32_t* token = args.token != nullptr ? args.token + first : nullptr;
      float* out = args.out + n * kPanelColumns;
      for (std::int64_t r = 0; r < rows; ++r) {
        const float* row = out + (token != nullptr ? token[r] : first + r) * args.out_stride;
        __builtin_prefetch(row, 1);
        __builtin_prefetch(row + 16, 1);
      }
      float* c = args.scratch + (flip ^= 1) * 1024;
      Gemm::block(args.a + first / kBlockRows * block_bytes, block_bytes, rows, panel, args.steps, c, prefetch, m,
                  side);
      side.finish();
      side = {{c, args.bias != nullptr ? args.bias + n * kPanelColumns : nullptr, token,
               args.weight != nullptr ? args.weight + first : nullptr, out, args.out_stride, first},
              0, rows, 0};
    }
  }
  side.finish();
}

template <class To>
void finish_as(const FinishArgs& args) noexcept {
  for (std::int64_t r = 0; r < args.rows; ++r) {
    const float* row = args.out + r * args.out_stride;
    To* y = static_cast<To*>(args.y) + r * args.y_stride;
    std::int64_t c = args.first;
    for (; c + 16 <= args.last; c += 16) store_row(y + c, load<F16>(row + c));
    if (c < args.last) {
      To tail[16];  // rows of the accumulators are padded to whole panels, rows of y are not
      store_row(tail, load<F16>(row + c));
      std::memcpy(y + c, tail, static_cast<std::size_t>(args.last - c) * sizeof(To));
    }
  }
}

inline void finish(const FinishArgs& args) noexcept {
  if (args.dtype == DType::kBFloat16) return finish_as<std::uint16_t>(args);
  finish_as<float>(args);
}

/// The entries of one weight dtype.
template <class Gemm>
constexpr WeightKernels weight_kernels() {
  using To = typename Gemm::Activation;
  return {sizeof(To) == 2 ? DType::kBFloat16 : DType::kFloat32, gather<float, To>, gather<std::uint16_t, To>,
          up_sweep<Gemm>, down_sweep<Gemm>};
}

}  // namespace
}  // namespace moekit::cpu
