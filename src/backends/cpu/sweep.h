// SPDX-License-Identifier: Apache-2.0
// Sweeps of activation blocks over panels.
//
// A Gemm provides
//   kGroup         rows that it multiplies at once
//   Activation     element type of A: float or uint16_t (bfloat16)
//   kSegments      segments of A a step
//   kStreamedRows  with slices: up to so many rows meet plain weights as in streamed.h, which calls
//                    add_line(sums, weights, row, line)    sums + line `line` of a step of a tile times a row of A
//                  on its vectors V, of float, and U, of weights
//   kBf16Pairs     whether a line is a pair of k of bfloat16; bf16z_fused.h then calls
//                    add_pair(sums, weights, pair_at(row, pair))
//   kSliceSteps    0: it has a matrix unit and takes whole panels. The vector work of a block is then done while the
//   next
//                  one is multiplied, called from the inner loop (side.step), so that the unit does not idle:
//                    block(a, block_bytes, rows, panel, steps, c, prefetch, group, side)       c = A panel
//                    sliced(a, block_bytes, rows, slices, steps, c, side)       c = A panel, which comes in slices
//                  else: steps of a panel that stay in the first-level cache while all rows pass:
//                    block(a, rows, panel, steps, c, accumulate, upcoming)                     c (+)= A panel
#pragma once

#include <algorithm>

#include "backends/cpu/bf16z_fused.h"
#include "backends/cpu/fused.h"
#include "backends/cpu/kernels.h"
#include "backends/cpu/layout.h"
#include "backends/cpu/rows.h"
#include "backends/cpu/streamed.h"
#include "backends/cpu/unpack_tiles.h"

namespace moekit::cpu {
namespace {

/// Which weights to bring into the second-level cache in the course of a panel.
struct Prefetch {
  const std::byte* next = nullptr;  // the panel after this one
  std::int64_t groups = 0;          // row groups that sweep this panel: each brings its share
};

/// The panels of a sweep as plain steps: where they lie, or unpacked into args.unpacked.
template <class Gemm, class Args>
struct PlainPanels {
  const Args& args;
  bool plain = args.quant == nullptr && args.bf16z == nullptr;
  std::int64_t panel_bytes = args.quant != nullptr   ? args.quant->panel_bytes()
                             : args.bf16z != nullptr ? args.bf16z->bytes()
                                                     : args.steps * kStepBytes;

  const std::byte* panel(std::int64_t n) const { return args.panels + n * panel_bytes; }
  /// Steps [first, first + count) of panel n.
  const std::byte* steps(std::int64_t n, std::int64_t first, std::int64_t count) const {
    if (plain) return panel(n) + first * kStepBytes;
    if (Gemm::kSegments != 1) return nullptr;  // float32 rows see no quantised panels, and bf16z widened
    if (args.bf16z != nullptr) {
      unpack_bf16z_steps<Bf16zPlain>(*args.bf16z, panel(n), first, count, args.unpacked);
      return args.unpacked;
    }
    // A step is 16 k of float32 or 32 k of bfloat16.
    constexpr std::int64_t kPerStep = kQuantStep * static_cast<std::int64_t>(sizeof(typename Gemm::Activation)) / 64;
    const std::byte *stream = panel(n), *following = nullptr;
    // Where slices wait for rows, the multiplication brings in what lies ahead.
    if (Gemm::kSliceSteps == 0) following = n + 1 < args.last ? panel(n + 1) : args.next;
    for (int half = 0; half < 2; ++half) {
      const TileFormat& format = args.quant->half[half];
      unpack_tiles<typename Gemm::Activation>({&format, args.quant->columns[half], stream, first / kPerStep,
                                               count / kPerStep, args.unpacked + half * kSegmentBytes, following});
      stream += format.bytes();
      if (following != nullptr) following += format.bytes();
    }
    return args.unpacked;
  }
};

/// Rows from which on bfloat16 weights are widened to float32 once for all. Of a step of AVX-512, every eight rows'
/// own widening takes 64 instructions beside 512 multiply-adds, widening to memory 64 and as many stores: even at 16 to
/// 24 rows.
constexpr std::int64_t kWidenRows = 32;

/// Steps of 32 k of bfloat16 to twice as many of 16 k of float32.
inline void widen_steps(const std::byte* from, std::int64_t steps, std::byte* to) noexcept {
  for (std::int64_t s = 0; s < steps; ++s, from += kStepBytes, to += 2 * kStepBytes)
    for (int tile = 0; tile < 2; ++tile)
#pragma GCC unroll 4
      for (int pair = 0; pair < 16; ++pair) {
        const U16 both = load<U16>(from + tile * kSegmentBytes + pair * kLineBytes);
        std::byte* out = to + pair / 8 * kStepBytes + tile * kSegmentBytes + pair % 8 * 2 * kLineBytes;
        store(out, both << 16);
        store(out + kLineBytes, both & 0xffff0000u);
      }
}

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

/// The vector work of all rows of a panel.
template <class Row>
MOEKIT_INLINE void finish_rows(const Row& work, std::int64_t rows) {
  constexpr std::int64_t kAhead = 16;  // rows: a third-level cache answers within the time of so many
  work.expect(0, std::min(kAhead, rows));
  for (std::int64_t r = 0; r < rows; ++r) {
    if (r + kAhead < rows) work.expect(r + kAhead, 1);
    work(r);
  }
}

/// row_work(panel, first_row, c) makes the Row for the rows from first_row on whose accumulators are at c.
template <class Gemm, class Args, class RowWork>
MOEKIT_INLINE void sweep(const Args& args, const RowWork& row_work) {
  const std::int64_t block_bytes = args.steps * Gemm::kSegments * kSegmentBytes;
  const PlainPanels<Gemm, Args> panels{args};
  const std::int64_t groups = ceil_div(args.rows, Gemm::kGroup);
  const auto rows_of = [&](std::int64_t first) { return std::min<std::int64_t>(Gemm::kGroup, args.rows - first); };
  if constexpr (Gemm::kSliceSteps == 0) {
    SideJob<decltype(row_work(0, 0, nullptr))> side;
    std::int64_t flip = 0;
    // A panel that one row group meets once is unpacked as it is multiplied.
    const bool sliced = !panels.plain && groups == 1;
    for (std::int64_t n = args.first; n < args.last; ++n) {
      const std::byte* panel = sliced ? nullptr : panels.steps(n, 0, args.steps);
      // Of unpacked panels the next one is not read as it lies: nothing to bring.
      const std::byte* next = !panels.plain ? nullptr : n + 1 < args.last ? panels.panel(n + 1) : args.next;
      const Prefetch prefetch{next, groups};
      for (std::int64_t m = 0; m < groups; ++m) {
        const std::int64_t first = m * Gemm::kGroup, rows = rows_of(first);
        float* c = args.scratch + (flip ^= 1) * Gemm::kGroup * kPanelColumns;
        const auto work = row_work(n, first, c);
        work.expect(0, rows);
        const std::byte* a = args.a + first / kBlockRows * block_bytes;
        if (sliced) {
          const auto slices = [&](std::int64_t s, std::int64_t count) { return panels.steps(n, s, count); };
          Gemm::sliced(a, block_bytes, rows, slices, args.steps, c, side);
        } else {
          Gemm::block(a, block_bytes, rows, panel, args.steps, c, prefetch, m, side);
        }
        side.finish();
        side = {work, 0, rows, 0};
      }
    }
    side.finish();
  } else {
    constexpr bool kFloatRows = sizeof(typename Gemm::Activation) == 4 && Gemm::kSegments == 1;
    constexpr bool kWidens = sizeof(typename Gemm::Activation) == 4 && Gemm::kSegments == 2;
    const bool compressed = Gemm::kBf16Pairs && args.bf16z != nullptr;
    const bool widens = kWidens && args.unpacked != nullptr && (compressed || args.rows >= kWidenRows);
    // Unpacked steps are written before they are read, half a slice, so that the first-level cache still holds them; a
    // whole one took 1.05 to 1.4 times as long on Zen 4. Widened ones take twice the room, beside those that they are
    // made of: all in a first-level cache of 32 KiB.
    const std::int64_t slice_steps = Gemm::kSliceSteps / (widens ? 3 : panels.plain ? 1 : 2);
    const bool fused = kFloatRows ? args.quant != nullptr && args.rows <= kFusedRows && can_fuse(*args.quant)
                                  : compressed && args.rows <= kBf16zRows;
    const bool streamed = panels.plain && args.rows <= Gemm::kStreamedRows;
    for (std::int64_t n = args.first; n < args.last; ++n) {
      if (streamed || fused) {
        std::int64_t count = 1;
        const auto following = [&] { return n + count < args.last ? panels.panel(n + count) : args.next; };
        if (streamed) {
          if constexpr (Gemm::kStreamedRows != 0) {
            streamed_panel<Gemm>(panels.panel(n), args.steps, following(), args.a, args.rows, args.scratch);
          }
        } else if constexpr (kFloatRows) {
          count = fused_at_once(args.rows, args.last - n);
          fused_panels(*args.quant, panels.panel(n), count, following(), args.a, args.rows, args.scratch);
        } else if constexpr (Gemm::kBf16Pairs) {
          bf16z_panel<Gemm>(*args.bf16z, panels.panel(n), args.a, args.rows, args.scratch);
        }
        for (std::int64_t i = 0; i < count; ++i)
          finish_rows(row_work(n + i, 0, args.scratch + i * kFusedRows * kPanelColumns), args.rows);
        n += count - 1;
        continue;
      }
      const std::byte* following = n + 1 < args.last ? panels.panel(n + 1) : args.next;
      for (std::int64_t s = 0; s < args.steps; s += slice_steps) {
        const std::int64_t steps = std::min<std::int64_t>(slice_steps, args.steps - s);
        const std::byte* a = args.a + s * Gemm::kSegments * kSegmentBytes;
        const std::byte* slice = panels.steps(n, s, steps);
        const std::byte* upcoming = following;
        if (!panels.plain) {
          if (following != nullptr)
            upcoming += s * panels.panel_bytes / args.steps;  // the same part of the panel to come
        } else if (s + steps < args.steps) {
          upcoming = slice + steps * kStepBytes;
        }
        // Each row group brings its share of the next slice into the second-level cache. A single one, too: hardware
        // prefetchers stop at the end of a page, which costs a fifth of the time at one row and a third at eight.
        const std::int64_t lines = !panels.plain ? ceil_div(panels.panel_bytes * steps, args.steps * kLineBytes)
                                                 : slice_steps * kStepBytes / kLineBytes;
        Upcoming next{upcoming, upcoming != nullptr ? ceil_div(lines, groups) : 0};
        if constexpr (kWidens) {
          if (compressed) {
            unpack_bf16z_steps<Bf16zWide>(*args.bf16z, panels.panel(n), s, steps, args.unpacked);
          } else if (widens) {
            widen_steps(slice, steps, args.unpacked);
          }
        }
        for (std::int64_t first = 0; first < args.rows; first += Gemm::kGroup) {
          const std::byte* rows = a + first / kBlockRows * block_bytes;
          float* c = args.scratch + first * kPanelColumns;
          if constexpr (kWidens) {
            if (widens) {
              Gemm::Wide::block(rows, rows_of(first), args.unpacked, 2 * steps, c, s != 0, next);
            } else {
              Gemm::block(rows, rows_of(first), slice, steps, c, s != 0, next);
            }
          } else {
            Gemm::block(rows, rows_of(first), slice, steps, c, s != 0, next);
          }
          if (next.lines != 0) next.at += next.lines * kLineBytes;
        }
      }
      finish_rows(row_work(n, 0, args.scratch), args.rows);
    }
  }
}

/// sweep as a type: what up_sweep and down_sweep are made of.
template <class Gemm>
struct GemmSweep {
  template <class Args, class RowWork>
  MOEKIT_INLINE static void run(const Args& args, const RowWork& row_work) {
    sweep<Gemm>(args, row_work);
  }
};

template <class To, class Sweep, bool kSilu>
void up_sweep_as(const UpArgs& args) noexcept {
  const std::int64_t h_block_bytes = args.h_segments * kSegmentBytes;
  const bool gated = is_gated(args.activation.act);
  // Output bytes of a row that a panel makes: 16 columns of a gated form, 32 of an ungated one.
  const std::int64_t panel_row_bytes = (gated ? 16 : 32) * static_cast<std::int64_t>(sizeof(To));
  Sweep::run(args, [&](std::int64_t n, std::int64_t first, const float* c) {
    const std::int64_t at = n * panel_row_bytes;
    std::byte* h = args.h + at / kLineBytes * kSegmentBytes + at % kLineBytes + first / kBlockRows * h_block_bytes;
    return UpRow<To, kSilu>{c,
                            args.bias != nullptr ? args.bias + n * kPanelColumns : nullptr,
                            h,
                            h_block_bytes,
                            &args.activation,
                            gated,
                            args.h_nibble_order};
  });
}

/// To: elements of A of the down-projection.
template <class To, class Sweep>
void up_sweep(const UpArgs& args) noexcept {
  if (args.activation.act == Activation::kSilu && args.bias == nullptr) return up_sweep_as<To, Sweep, true>(args);
  return up_sweep_as<To, Sweep, false>(args);
}

template <class Sweep>
void down_sweep(const DownArgs& args) noexcept {
  Sweep::run(args, [&](std::int64_t n, std::int64_t first, const float* c) {
    return DownRow{c,
                   args.bias != nullptr ? args.bias + n * kPanelColumns : nullptr,
                   args.token != nullptr ? args.token + first : nullptr,
                   args.weight != nullptr ? args.weight + first : nullptr,
                   args.out + n * args.out_panel,
                   args.out_stride,
                   first};
  });
}

/// The entries of one weight dtype. `unpacks`: as in WeightKernels.
template <class Gemm>
constexpr WeightKernels weight_kernels(bool unpacks = false) {
  using To = typename Gemm::Activation;
  return {sizeof(To) == 2 ? DType::kBFloat16 : DType::kFloat32,
          gather<float, To>,
          gather<std::uint16_t, To>,
          up_sweep<To, GemmSweep<Gemm>>,
          down_sweep<GemmSweep<Gemm>>,
          Gemm::kSliceSteps,
          unpacks,
          nullptr};
}

}  // namespace
}  // namespace moekit::cpu
