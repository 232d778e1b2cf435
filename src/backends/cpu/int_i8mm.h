// SPDX-License-Identifier: Apache-2.0
// Rows of int8 by Arm's matrix product of bytes (FEAT_I8MM), two or four at a time; a last one goes to the kernel of
// int_panel.h. Both sum integers exactly and scale groups in the same order.
#pragma once

#include "backends/cpu/dot_neon.h"
#include "backends/cpu/int_sweep.h"
#include "backends/cpu/mmla_neon.h"

namespace moekit::cpu {
namespace {

/// kPairs pairs of rows: with two 16 sums a tile, which leave registers for eight pairs of columns.
template <Read kRead, Form kForm, int kPairs>
struct I8mmPanel : IntOperands {
  static constexpr bool kBytes = kRead == Read::kInt8;
  static constexpr int kUnitBytes = (kBytes ? 4 : 2) * kLineBytes;  // of codes, 16 k
  using Sums = int32x4_t[kPairs][kColumnPairs];

  /// Eight k: two lines of codes as bytes.
  MOEKIT_INLINE void eight(U16 first, U16 second, const std::byte* planes, Sums& sums) const {
    const MmlaColumns columns(first, second);
#pragma GCC unroll 2
    for (int q = 0; q < kPairs; ++q) {
      const std::byte* x = planes + 2 * q * rows.bytes();
      const auto pair = (int8x16_t)mmla_rows(x, x + rows.bytes());
#pragma GCC unroll 8
      for (int p = 0; p < kColumnPairs; ++p) sums[q][p] = vmmlaq_s32(sums[q][p], pair, (int8x16_t)columns.pair[p]);
    }
  }

  /// Sixteen k of a tile. `planes`: the digits of row 0 from these k on.
  MOEKIT_INLINE void unit(const std::byte* codes, const std::byte* planes, Sums& sums) const {
#pragma GCC unroll 2
    for (int half = 0; half < 2; ++half, planes += 8) {
      if constexpr (kBytes) {
        const std::byte* at = codes + 2 * half * kLineBytes;
        eight(load<U16>(at), load<U16>(at + kLineBytes), planes, sums);
      } else {
        const auto value = [](U16 nibbles) {
          return kRead == Read::kE2M1 ? NeonDot::lookup(kE2M1Codes, nibbles) : nibbles;
        };
        const U16 both = load<U16>(codes + half * kLineBytes);
        eight(value(both & 0x0f0f0f0fu), value(both >> 4 & 0x0f0f0f0fu), planes, sums);
      }
    }
  }

  /// Sums of row `r` of a tile in the order of columns.
  MOEKIT_INLINE static I16 of_row(const Sums& sums, int r) {
    I16 row;
#pragma GCC unroll 4
    for (int i = 0; i < 4; ++i) {
      const auto low = (int64x2_t)sums[r / 2][2 * i], high = (int64x2_t)sums[r / 2][2 * i + 1];
      row.at[i] = (IntRegister)(r % 2 == 0 ? vzip1q_s64(low, high) : vzip2q_s64(low, high));
    }
    return row;
  }

  /// 32 sums of each row, as IntPanel.
  void operator()(const std::byte* panel, Upcoming& upcoming, std::int64_t lines, float* c) const {
    F16 total[2 * kPairs][2] = {};
    IntWalk walk(quant, panel);
    const std::int64_t group = quant.half[0].weight.group, units = rows.steps * 2;
    const std::int64_t per_group = group == 0 ? units : group / 16;
    const std::byte* planes = a + rows.digits_at();
    for (std::int64_t g = 0, left = units; g < rows.groups; ++g) {
      walk.begin_group();
      const std::int64_t count = std::min(per_group, left);
      for (int half = 0; half < 2; ++half) {
        Sums sums = {};
        for (std::int64_t u = 0; u < count; ++u, walk.codes[half] += kUnitBytes) {
          upcoming.step(lines);
          unit(walk.codes[half], planes + u * 16, sums);
        }
        const GroupLanes lanes = walk.template lanes<kRead>(half, g);
        for (int r = 0; r < 2 * kPairs; ++r) {
          const I16 of_group[1] = {of_row(sums, r) + row<std::int32_t>(r, IntRows::starts_at())[g]};
          finish_group<kForm>(of_group, lanes, row<float>(r, rows.sums_at())[g], total[r][half]);
        }
      }
      planes += count * 16;
      left -= count;
      walk.end_group(count);
    }
    for (int r = 0; r < 2 * kPairs; ++r) finish_row(r, total[r], c);
  }
};

struct I8mmPanels {
  template <Read kRead, Form kForm>
  MOEKIT_INLINE static void multiply_as(const QuantPanels& quant, const std::byte* panel, const std::byte* following,
                                        const std::byte* a, std::int64_t count, float* c) {
    const IntRows rows(quant.half[0], 1);
    Upcoming upcoming{following, following == nullptr ? 0 : quant.panel_bytes() / kLineBytes};
    const std::int64_t lines = upcoming.each(mmla_calls(count), rows.steps * 2);
    std::int64_t r = 0;
    const auto operands = [&] { return IntOperands{quant, rows, a + r * rows.bytes()}; };
    for (; count - r >= 4; r += 4)
      I8mmPanel<kRead, kForm, 2>{operands()}(panel, upcoming, lines, c + r * kPanelColumns);
    for (; count - r >= 2; r += 2)
      I8mmPanel<kRead, kForm, 1>{operands()}(panel, upcoming, lines, c + r * kPanelColumns);
    if (r < count)
      IntPanel<NeonDot, kRead, kForm, 1, 1>{operands()}(panel, nullptr, false, upcoming, lines, c + r * kPanelColumns);
  }
  MOEKIT_INLINE static void multiply(const QuantPanels& quant, const std::byte* panel, const std::byte* following,
                                     const std::byte* a, std::int64_t rows, float* c) {
    if (rows == 1) return int_panel<NeonDot, 1>(quant, panel, following, a, rows, c);
    dispatch_int(quant.half[0].weight, [&](auto read, auto form) {
      multiply_as<decltype(read)::value, decltype(form)::value>(quant, panel, following, a, rows, c);
    });
  }
};

constexpr IntKernels i8mm_int_kernels() {
  using Sweep = IntSweep<I8mmPanels>;
  return {int_gather<NeonDot::kSignedCodes>, up_sweep<float, Sweep>, down_sweep<Sweep>, nullptr};
}

}  // namespace
}  // namespace moekit::cpu
