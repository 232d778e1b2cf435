// SPDX-License-Identifier: Apache-2.0
// Rows of integers (int_rows.h) through a quantised panel: codes widen to bytes in registers, products are summed in 32
// bits, and each group ends with one multiply-add of its scale. One order whatever the number of rows.
//
// A Dot provides, on sixteen lanes of four bytes:
//   kSignedCodes           whether 8-bit codes are multiplied as signed bytes
//   kRows                  1, 2 or 4: rows that meet a register of codes
//   add(sums, codes, word) sums + codes . word, the four digits of `word` for all lanes
//   lookup(table, nibbles) table[i] for each byte
#pragma once

#include "backends/cpu/int_gather.h"
#include "backends/cpu/unpack_tiles.h"

namespace moekit::cpu {
namespace {

/// Twice the e2m1 values, and 12.
constexpr std::uint8_t kE2M1Codes[16] = {12, 13, 14, 15, 16, 18, 20, 24, 12, 11, 10, 9, 8, 6, 4, 0};

template <class Dot, Read kRead, Form kForm, int kDigits, int R>
struct IntPanel {
  static constexpr bool kBytes = kRead == Read::kInt8;
  static constexpr int kUnitLines = kBytes ? 4 : 2;  // of codes, 16 k
  const QuantPanels& quant;
  const IntRows rows;
  const std::byte* a;  // row 0

  template <class T>
  MOEKIT_INLINE const T* row(int r, std::int64_t at) const {
    return reinterpret_cast<const T*>(a + r * rows.bytes() + at);
  }

  /// Sixteen k of both tiles. `planes`: the digits of row 0 from these k on.
  MOEKIT_INLINE void unit(const std::byte* const (&codes)[2], const std::byte* planes, I16 (&sums)[R][2][kDigits]) const {
    const auto add = [&](int word, U16 w0, U16 w1) {
#pragma GCC unroll 4
      for (int r = 0; r < R; ++r)
#pragma GCC unroll 3
        for (int d = 0; d < kDigits; ++d) {
          std::int32_t x;
          std::memcpy(&x, planes + r * rows.bytes() + d * rows.plane_bytes() + word * 4, 4);
          sums[r][0][d] = Dot::add(sums[r][0][d], w0, x);
          sums[r][1][d] = Dot::add(sums[r][1][d], w1, x);
        }
    };
#pragma GCC unroll 4
    for (int line = 0; line < kUnitLines; ++line) {
      const U16 c0 = load<U16>(codes[0] + line * kLineBytes), c1 = load<U16>(codes[1] + line * kLineBytes);
      if constexpr (kBytes) {
        const std::uint32_t flip = Dot::kSignedCodes ? 0u : 0x80808080u;
        add(line, c0 ^ flip, c1 ^ flip);
      } else {
        constexpr std::uint32_t kLow = 0x0f0f0f0fu;
        const auto value = [](U16 nibbles) {
          return kRead == Read::kE2M1 ? Dot::lookup(kE2M1Codes, nibbles) : nibbles;
        };
        add(2 * line, value(c0 & kLow), value(c1 & kLow));
        add(2 * line + 1, value(c0 >> 4 & kLow), value(c1 >> 4 & kLow));
      }
    }
  }

  /// The scaled sum of a group.
  MOEKIT_INLINE void finish(const I16 (&sums)[kDigits], const GroupLanes& group, float sum, F16& c) const {
    F16 v = __builtin_convertvector(sums[0], F16);
    // Powers of two: the products are exact, so that fusing them changes nothing.
#pragma GCC unroll 3
    for (int d = 1; d < kDigits; ++d) v = v * (1.0f / 256.0f) + __builtin_convertvector(sums[d], F16);
    if constexpr (kForm == Form::kShifted) v = v - group.offset * sum;
    c = c + v * group.scale;
    if constexpr (kForm == Form::kMinimum) c = c - group.offset * sum;
  }

  /// 32 sums of each row. Brings in the panel's own codes `ahead` bytes on, where that is not 0, and `lines` lines of
  /// `upcoming` every 16 k.
  void operator()(const std::byte* panel, std::int64_t ahead, Upcoming& upcoming, std::int64_t lines, float* c) const {
    F16 total[R][2] = {};
    const std::byte* streams[2] = {panel, panel + quant.half[0].bytes()};
    const std::byte *headers[2], *codes[2];
    for (int half = 0; half < 2; ++half) {
      headers[half] = streams[half] + quant.half[half].head_bytes;
      codes[half] = headers[half] + quant.half[half].header_bytes;
    }
    const TileFormat& format = quant.half[0];
    const std::int64_t units = rows.steps * 2, block = format.span * 2;
    const std::int64_t per_group = format.weight.group == 0 ? units : format.weight.group / 16;
    const std::byte* planes = a + rows.digits_at();
    std::int64_t in_block = 0, group_in_block = 0;
    for (std::int64_t g = 0, left = units; g < rows.groups; ++g) {
      if (in_block == block) {
        for (int half = 0; half < 2; ++half) headers[half] = codes[half], codes[half] += quant.half[half].header_bytes;
        in_block = group_in_block = 0;
      }
      I16 sums[R][2][kDigits];
#pragma GCC unroll 4
      for (int r = 0; r < R; ++r)
#pragma GCC unroll 3
        for (int d = 0; d < kDigits; ++d)
          sums[r][0][d] = sums[r][1][d] = I16{} + row<std::int32_t>(r, IntRows::starts_at())[g * kDigits + d];
      const std::int64_t count = std::min(per_group, left);
      for (std::int64_t u = 0; u < count; ++u, planes += 16) {
        if (ahead != 0)
          for (int half = 0; half < 2; ++half)
#pragma GCC unroll 4
            for (int line = 0; line < kUnitLines; ++line)
              __builtin_prefetch(codes[half] + ahead + line * kLineBytes, 0, 2);
        upcoming.step(lines);
        unit(codes, planes, sums);
        codes[0] += kUnitLines * kLineBytes;
        codes[1] += kUnitLines * kLineBytes;
      }
      left -= count;
      in_block += count;
#pragma GCC unroll 2
      for (int half = 0; half < 2; ++half) {
        const TileFormat& of = quant.half[half];
        GroupLanes lanes = of.header_bytes == 0 ? head_group(of, streams[half], g)
                                                : header_group(of, streams[half], headers[half], group_in_block);
        if constexpr (kRead == Read::kE2M1) lanes.scale = lanes.scale * 0.5f;
#pragma GCC unroll 4
        for (int r = 0; r < R; ++r) finish(sums[r][half], lanes, row<float>(r, rows.sums_at())[g], total[r][half]);
      }
      ++group_in_block;
    }
#pragma GCC unroll 4
    for (int r = 0; r < R; ++r) {
      const float scale = *row<float>(r, 0);
      store(c + r * kPanelColumns, total[r][0] * scale);
      store(c + r * kPanelColumns + 16, total[r][1] * scale);
    }
  }
};

template <class Dot, Read kRead, Form kForm, int kDigits>
void int_panel_as(const QuantPanels& quant, const std::byte* panel, const std::byte* following, const std::byte* a,
                  std::int64_t count, float* c) {
  const IntRows rows(quant.half[0], kDigits);
  // Few rows read a panel once, front to back: it is brought in a little ahead of itself, past the ends of pages, where
  // the hardware's prefetcher stops. More rows share the work of bringing in the next one.
  constexpr std::int64_t kAheadBytes = 2048;
  const bool once = count <= Dot::kRows;
  Upcoming upcoming{following, once || following == nullptr ? 0 : quant.panel_bytes() / kLineBytes};
  const std::int64_t lines = upcoming.each(ceil_div(count, Dot::kRows), rows.steps * 2);
  std::int64_t r = 0;
  const auto next = [&](auto of) {
    constexpr int kCount = decltype(of)::value;
    IntPanel<Dot, kRead, kForm, kDigits, kCount>{quant, rows, a + r * rows.bytes()}(
        panel, once ? kAheadBytes : 0, upcoming, lines, c + r * kPanelColumns);
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
  const WeightFormat& weight = quant.half[0].weight;
  const auto as = [&](auto read, auto form) {
    int_panel_as<Dot, decltype(read)::value, decltype(form)::value, kDigits>(quant, panel, following, a, count, c);
  };
  const auto forms = [&](auto read) {
    if (weight.offset == Offset::kZeroPoint) return as(read, std::integral_constant<Form, Form::kShifted>());
    if (weight.offset == Offset::kMin) return as(read, std::integral_constant<Form, Form::kMinimum>());
    as(read, std::integral_constant<Form, Form::kScaled>());
  };
  if (weight.code == Code::kE2M1)
    return as(std::integral_constant<Read, Read::kE2M1>(), std::integral_constant<Form, Form::kScaled>());
  if (weight.code == Code::kInt8) return forms(std::integral_constant<Read, Read::kInt8>());
  forms(std::integral_constant<Read, Read::kUInt4>());
}

}  // namespace
}  // namespace moekit::cpu
