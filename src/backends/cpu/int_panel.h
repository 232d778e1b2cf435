// SPDX-License-Identifier: Apache-2.0
// Rows of integers (int_rows.h) through a quantised panel: codes widen to bytes in registers, products are summed in 32
// bits, and each group ends with one multiply-add of its scale. One order whatever the number of rows.
//
// A Dot provides, on sixteen lanes of four bytes:
//   kSignedCodes           whether 8-bit codes are multiplied as signed bytes
//   kRows                  1, 2 or 4: rows that meet a register of codes
//   add(sums, codes, word) sums + codes . word, the four digits of `word` for all lanes
//   kSmallCodes            whether codes of 4 bits go through add4 instead
//   add4(sums, codes, at)  the same of four words that lie at `at`, for codes up to 24, the largest of kE2M1Codes
//   lookup(table, nibbles) table[i] for each byte
#pragma once

#include "backends/cpu/int_gather.h"
#include "backends/cpu/int_walk.h"

namespace moekit::cpu {
namespace {

template <class Dot, Read kRead, Form kForm, int kDigits, int R>
struct IntPanel : IntOperands {
  static constexpr bool kBytes = kRead == Read::kInt8;
  static constexpr int kUnitLines = kBytes ? 4 : 2;  // of codes, 16 k
  static constexpr bool kFour = Dot::kSmallCodes && !kBytes;

  /// Sixteen k of both tiles. `planes`: the digits of row 0 from these k on.
  MOEKIT_INLINE void unit(const std::byte* const (&codes)[2], const std::byte* planes,
                          I16 (&sums)[R][2][kDigits]) const {
    const auto digits = [&](int r, int d) { return planes + r * rows.bytes() + d * rows.plane_bytes(); };
    const auto code = [&](int half, int word) -> U16 {
      if constexpr (kBytes) {
        return load<U16>(codes[half] + word * kLineBytes) ^ (Dot::kSignedCodes ? 0u : 0x80808080u);
      } else {
        const U16 both = load<U16>(codes[half] + word / 2 * kLineBytes);
        const U16 nibbles = (word % 2 == 0 ? both : both >> 4) & 0x0f0f0f0fu;
        return kRead == Read::kE2M1 ? Dot::lookup(kE2M1Codes, nibbles) : nibbles;
      }
    };
    if constexpr (kFour || kRegisters == 2) {
      // A tile at a time, so that its codes stay in registers.
#pragma GCC unroll 2
      for (int half = 0; half < 2; ++half) {
        // Digits of both tiles would be kept on the stack: here they are read again.
        if constexpr (kRegisters == 2) asm("" : "+r"(planes));
        const U16 w[4] = {code(half, 0), code(half, 1), code(half, 2), code(half, 3)};
#pragma GCC unroll 4
        for (int r = 0; r < R; ++r)
#pragma GCC unroll 3
          for (int d = 0; d < kDigits; ++d) {
            I16& sum = sums[r][half][d];
            if constexpr (kFour) {
              sum = Dot::add4(sum, w, digits(r, d));
            } else {
#pragma GCC unroll 4
              for (int word = 0; word < 4; ++word)
                sum = Dot::add(sum, w[word], load<std::int32_t>(digits(r, d) + word * 4));
            }
          }
      }
    } else {
#pragma GCC unroll 4
      for (int word = 0; word < 4; ++word) {
        const U16 w0 = code(0, word), w1 = code(1, word);
#pragma GCC unroll 4
        for (int r = 0; r < R; ++r)
#pragma GCC unroll 3
          for (int d = 0; d < kDigits; ++d) {
            const auto x = load<std::int32_t>(digits(r, d) + word * 4);
            sums[r][0][d] = Dot::add(sums[r][0][d], w0, x);
            sums[r][1][d] = Dot::add(sums[r][1][d], w1, x);
          }
      }
    }
  }

  /// 32 sums of each row. Brings in what lies ahead of a panel that is read once, or `lines` lines of `upcoming` every
  /// 16 k.
  void operator()(const std::byte* panel, const std::byte* following, bool once, Upcoming& upcoming, std::int64_t lines,
                  float* c) const {
    F16 total[R][2] = {};
    IntWalk walk(quant, panel);
    if (once) walk.read_once(following);
    const std::int64_t group = quant.half[0].weight.group, units = rows.steps * 2;
    const std::int64_t per_group = group == 0 ? units : group / 16;
    const std::byte* planes = a + rows.digits_at();
    for (std::int64_t g = 0, left = units; g < rows.groups; ++g) {
      walk.begin_group();
      I16 sums[R][2][kDigits];
#pragma GCC unroll 4
      for (int r = 0; r < R; ++r)
#pragma GCC unroll 3
        for (int d = 0; d < kDigits; ++d)
          sums[r][0][d] = sums[r][1][d] = I16{} + row<std::int32_t>(r, IntRows::starts_at())[g * kDigits + d];
      const std::int64_t count = std::min(per_group, left);
      for (std::int64_t u = 0; u < count; ++u, planes += 16) {
        if (once)
          for (int half = 0; half < 2; ++half)
            walk.ahead[half].bring(walk.codes[half], walk.codes[half] + kUnitLines * kLineBytes);
        upcoming.step(lines);
        unit(walk.codes, planes, sums);
        walk.codes[0] += kUnitLines * kLineBytes;
        walk.codes[1] += kUnitLines * kLineBytes;
      }
      left -= count;
#pragma GCC unroll 2
      for (int half = 0; half < 2; ++half) {
        const GroupLanes lanes = walk.template lanes<kRead>(half, g);
#pragma GCC unroll 4
        for (int r = 0; r < R; ++r)
          finish_group<kForm>(sums[r][half], lanes, row<float>(r, rows.sums_at())[g], total[r][half]);
      }
      walk.end_group(count);
    }
#pragma GCC unroll 4
    for (int r = 0; r < R; ++r) finish_row(r, total[r], c);
  }
};

template <class Dot, Read kRead, Form kForm, int kDigits>
void int_panel_as(const QuantPanels& quant, const std::byte* panel, const std::byte* following, const std::byte* a,
                  std::int64_t count, float* c) {
  const IntRows rows(quant.half[0], kDigits);
  // Few rows read a panel once, front to back. More rows share the work of bringing in the next one.
  const bool once = count <= Dot::kRows;
  Upcoming upcoming{following, once || following == nullptr ? 0 : quant.panel_bytes() / kLineBytes};
  const std::int64_t lines = upcoming.each(ceil_div(count, Dot::kRows), rows.steps * 2);
  std::int64_t r = 0;
  const auto next = [&](auto of) {
    constexpr int kCount = decltype(of)::value;
    IntPanel<Dot, kRead, kForm, kDigits, kCount>{{quant, rows, a + r * rows.bytes()}}(panel, following, once, upcoming,
                                                                                      lines, c + r * kPanelColumns);
    r += kCount;
  };
  while (count - r >= Dot::kRows) next(std::integral_constant<int, Dot::kRows>());
  if constexpr (Dot::kRows > 2)
    if (count - r >= 2) next(std::integral_constant<int, 2>());
  if constexpr (Dot::kRows > 1)
    if (count - r == 1) next(std::integral_constant<int, 1>());
}

/// The first `count` rows of A, all within the second-level cache, through a panel. `following`: what is read next, or
/// null.
template <class Dot, int kDigits>
void int_panel(const QuantPanels& quant, const std::byte* panel, const std::byte* following, const std::byte* a,
               std::int64_t count, float* c) {
  dispatch_int(quant.half[0].weight, [&](auto read, auto form) {
    int_panel_as<Dot, decltype(read)::value, decltype(form)::value, kDigits>(quant, panel, following, a, count, c);
  });
}

}  // namespace
}  // namespace moekit::cpu
