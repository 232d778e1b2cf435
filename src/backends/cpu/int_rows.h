// SPDX-License-Identifier: Apache-2.0
// Rows of A for integer kernels: x as a scale times integers, which are one signed byte or three.
//
//   one digit    q = x / s rounded to nearest even, s = max |x| / 127: int8 activations
//   three        q = x / s rounded to nearest even, s = 2^(e - 21) for 2^e <= max |x| < 2^(e + 1): fixed point of 23
//   bits
//                with sign, q = 65536 d2 + 256 d1 + d0. A bfloat16 x down to 2^-14 of the row's largest is exact.
//
// Sums of products of bytes are exact in 32 bits, so that their order is free: the same bits on every ISA.
//
// A row is a line with the scale, what each group of weights needs of the row (below), then the planes of the digits,
// least first, k in the order in which codes of tile_format.h widen to bytes: of 8-bit codes 0 1 2 ..., of 4-bit codes
// the even k of eight before the odd ones.
#pragma once

#include <cstdint>

#include "backends/cpu/layout.h"
#include "backends/cpu/tile_format.h"

namespace moekit::cpu {

constexpr int kFixedPointDigits = 3;
/// Inner columns up to which 32 bits hold every sum: 255 * 128 * 2^16 < 2^31.
constexpr std::int64_t kMaxIntColumns = std::int64_t{1} << 16;

struct IntRows {
  int digits = 1;
  std::int64_t steps = 0, groups = 0;  // as of the format

  IntRows(const TileFormat& format, int digit_count)
      : digits(digit_count), steps(format.steps), groups(format.groups) {}
  /// int32 [groups][digits]: what sums of code * digit start from, -bias * (sum of digits), where weights are code -
  /// bias.
  static constexpr std::int64_t starts_at() noexcept { return kLineBytes; }
  /// float32 [groups]: sum of q * 65536^-1 (three digits) or q, which zero points and minima multiply.
  std::int64_t sums_at() const noexcept { return starts_at() + groups * digits * 4; }
  std::int64_t digits_at() const noexcept { return round_up(sums_at() + groups * 4, kLineBytes); }
  /// Whole tiles of 64 k: zeros at the end.
  std::int64_t plane_bytes() const noexcept { return round_up(steps * kQuantStep, kLineBytes); }
  std::int64_t bytes() const noexcept { return round_up(digits_at() + digits * plane_bytes(), kLineBytes); }
};

/// Whether integer kernels take panels of the two streams.
inline bool has_int_codes(const TileFormat& a, const TileFormat& b) noexcept {
  const Code code = a.weight.code;
  return (code == Code::kInt8 || code == Code::kUInt4 || code == Code::kE2M1) && b.weight.code == code &&
         b.weight.group == a.weight.group && b.weight.offset == a.weight.offset && b.weight.zero == a.weight.zero &&
         b.span == a.span && !a.by_column && !b.by_column && a.steps * kQuantStep <= kMaxIntColumns;
}

}  // namespace moekit::cpu
