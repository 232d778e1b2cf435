// SPDX-License-Identifier: Apache-2.0
// Sweeps of rows of bfloat16 over quantised panels whose codes are bfloat16 numbers: a few rows as in code_rows.h; more
// rows have the codes unpacked to plain tiles slice by slice. Sums have the same order whatever the number of rows.
#pragma once

#include <algorithm>
#include <utility>

#include "backends/cpu/code_rows.h"
#include "backends/cpu/sweep.h"

namespace moekit::cpu {
namespace {

/// Steps of a panel whose codes are unpacked to plain tiles for all rows: 8 KiB, so that the first-level cache holds
/// them until they are read. Of 24 KiB, with the rows beside them, it did not (Zen 4: 1.05 times as long at 256
/// tokens).
constexpr std::int64_t kCodeSliceSteps = 4;
struct CodeSlice {
  alignas(64) float scales[2 * kCodeSliceSteps][kPanelColumns];  // of its runs; slices begin with one
  std::byte* tiles;                                              // kCodeSliceSteps steps
  std::int64_t run, units;
};

/// The next `slice.units` of both streams.
template <Read kRead>
MOEKIT_INLINE void unpack_codes(StepWalk (&walks)[2], CodeSlice& slice) {
  using Pairs = CodePairs<kRead>;
  const Pairs pairs;
  for (int tile = 0; tile < 2; ++tile) {
    StepWalk& walk = walks[tile];
    std::byte* out = slice.tiles + tile * kSegmentBytes;
    for (std::int64_t u = 0; u < slice.units; ++u) {
      if (u % 2 == 0) walk.begin(packed_zero<kRead>);
      if (u % slice.run == 0) store(slice.scales[u / slice.run] + tile * 16, walk.of(u % 2).scale);
#pragma GCC unroll 4
      for (int line = 0; line < Pairs::kLines; ++line, out += Pairs::kPairs * kLineBytes) {
        const std::byte* codes = walk.codes + (u % 2 * Pairs::kLines + line) * kLineBytes;
#pragma GCC unroll 4
        for (int pair = 0; pair < Pairs::kPairs; pair += Pairs::kAtOnce) {
          __m512bh w[Pairs::kAtOnce];
          pairs(codes, pair, walk.of(u % 2).offset, w);
          for (int i = 0; i < Pairs::kAtOnce; ++i) store(out + (pair + i) * kLineBytes, w[i]);
        }
      }
      if (u % 2 == 0) continue;
      out += kStepBytes - kSegmentBytes;
      walk.end();
    }
  }
}

/// R rows of a block through a slice; `a`: their first segment of it.
template <int R>
void slice_rows(const std::byte* a, const CodeSlice& slice, float* c, Upcoming& upcoming, std::int64_t lines) noexcept {
  __m512 sum[R][2] = {};
  const std::byte* tiles = slice.tiles;
  const float* scale = slice.scales[0];
  for (std::int64_t u = 0, left = slice.run; u < slice.units; ++u, a += 32, tiles += 8 * kLineBytes) {
    if (u % 2 == 0) {
      upcoming.step(lines);
      if (u != 0) a += kSegmentBytes - kLineBytes, tiles += kStepBytes - kSegmentBytes;
    }
#pragma GCC unroll 8
    for (int pair = 0; pair < 8; ++pair) {
      const auto b0 = load<__m512bh>(tiles + pair * kLineBytes);
      const auto b1 = load<__m512bh>(tiles + kSegmentBytes + pair * kLineBytes);
#pragma GCC unroll 8
      for (int r = 0; r < R; ++r) {
        const __m512bh x = pair_of(a + r * kLineBytes + pair * 4);
        sum[r][0] = _mm512_dpbf16_ps(sum[r][0], b0, x);
        sum[r][1] = _mm512_dpbf16_ps(sum[r][1], b1, x);
      }
    }
    if (--left != 0 && u + 1 != slice.units) continue;
    left = slice.run;
#pragma GCC unroll 8
    for (int r = 0; r < R; ++r)
#pragma GCC unroll 2
      for (int tile = 0; tile < 2; ++tile) {
        float* at = c + r * kPanelColumns + tile * 16;
        store(at, multiply_add(load<F16>(&sum[r][tile]), load<F16>(scale + tile * 16), load<F16>(at)));
        sum[r][tile] = __m512{};
      }
    scale += kPanelColumns;
  }
}

template <int... R>
constexpr auto slice_kernel(std::int64_t rows, std::integer_sequence<int, R...>) {
  constexpr void (*kTable[])(const std::byte*, const CodeSlice&, float*, Upcoming&,
                             std::int64_t) noexcept = {slice_rows<R + 1>...};
  return kTable[rows - 1];
}

/// All rows of A through a panel. 8 rows x 2 tiles are 16 chains, enough for two dot units of latency 6.
template <Read kRead>
void code_panel(const QuantPanels& quant, const std::byte* panel, const std::byte* following, const std::byte* a,
                std::int64_t rows, std::byte* unpacked, float* c) noexcept {
  constexpr std::int64_t kRows = 8;
  const std::int64_t steps = quant.half[0].steps, block_bytes = steps * kSegmentBytes;
  StepWalk walks[2] = {StepWalk(quant.half[0], panel, 0), StepWalk(quant.half[1], panel + quant.half[0].bytes(), 0)};
  CodeSlice slice;
  slice.tiles = unpacked;
  slice.run = run_units(quant.half[0]);
  std::memset(c, 0, static_cast<std::size_t>(rows * kPanelColumns) * sizeof(float));
  const std::int64_t groups = ceil_div(rows, kRows), panel_lines = quant.panel_bytes() / kLineBytes;
  for (std::int64_t s = 0; s < steps; s += kCodeSliceSteps) {
    const std::int64_t count = std::min(kCodeSliceSteps, steps - s);
    slice.units = 2 * count;
    unpack_codes<kRead>(walks, slice);
    // The same part of the panel to come, of which every group of rows brings its share.
    Upcoming upcoming{following, 0};
    if (following != nullptr) {
      upcoming.at += panel_lines * s / steps * kLineBytes;
      upcoming.lines = ceil_div(panel_lines * count, steps);
    }
    const std::int64_t lines = upcoming.each(groups, count);
    for (std::int64_t first = 0; first < rows; first += kRows) {
      const std::byte* block =
          a + first / kBlockRows * block_bytes + first % kBlockRows * kLineBytes + s * kSegmentBytes;
      slice_kernel(std::min(kRows, rows - first), std::make_integer_sequence<int, kRows>())(
          block, slice, c + first * kPanelColumns, upcoming, lines);
    }
  }
}

/// As sweep, for panels of codes.
template <class Args, class RowWork>
MOEKIT_INLINE void code_sweep(const Args& args, const RowWork& row_work) {
  const QuantPanels& quant = *args.quant;
  const std::int64_t panel_bytes = quant.panel_bytes();
  const bool few = args.rows <= kCodeRows;
  for (std::int64_t n = args.first, count = 1; n < args.last; n += count) {
    count = few ? code_panels_at_once(quant, args.rows, args.last - n) : 1;
    const std::byte* panel = args.panels + n * panel_bytes;
    const std::byte* following = n + count < args.last ? panel + count * panel_bytes : args.next;
    dispatch_codes(quant.half[0].weight, [&](auto read) {
      constexpr Read kRead = decltype(read)::value;
      if (few) return code_panels<kRead>(quant, panel, count, following, args.a, args.rows, args.scratch);
      code_panel<kRead>(quant, panel, following, args.a, args.rows, args.unpacked, args.scratch);
    });
    for (std::int64_t i = 0; i < count; ++i)
      finish_rows(row_work(n + i, 0, args.scratch + i * kFusedRows * kPanelColumns), args.rows);
  }
}

/// The sweep of a Gemm whose activations are bfloat16, which takes panels of codes as they are.
template <class Gemm>
struct CodeSweep {
  template <class Args, class RowWork>
  MOEKIT_INLINE static void run(const Args& args, const RowWork& row_work) {
    if (args.quant != nullptr) return code_sweep(args, row_work);
    sweep<Gemm>(args, row_work);
  }
};

/// As weight_kernels.
template <class Gemm>
constexpr WeightKernels code_kernels() {
  static_assert(Gemm::kSliceSteps >= kCodeSliceSteps, "args.unpacked has room for so many");
  WeightKernels kernels = weight_kernels<Gemm>();
  kernels.up = up_sweep<typename Gemm::Activation, CodeSweep<Gemm>>;
  kernels.down = down_sweep<CodeSweep<Gemm>>;
  kernels.codes = has_code_pairs;
  return kernels;
}

}  // namespace
}  // namespace moekit::cpu
