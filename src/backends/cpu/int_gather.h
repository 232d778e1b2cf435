// SPDX-License-Identifier: Apache-2.0
// Rows of x, or of the hidden activations, to integers: int_rows.h. Division, multiplication by powers of two and
// rounding only, so that every ISA has the same bits.
#pragma once

#include "backends/cpu/gather.h"
#include "backends/cpu/int_rows.h"
#include "backends/cpu/kernels.h"
#include "backends/cpu/vec.h"

namespace moekit::cpu {
namespace {

/// Columns 16 i .. 16 i + 15 of a row of x. Scaled rows as in gather16.
template <class From>
struct XRow {
  const From* x;
  std::int64_t columns;
  const float* scale;

  MOEKIT_INLINE F16 operator()(std::int64_t i) const {
    F16 v;
    const std::int64_t left = columns - i * 16;
    if (left >= 16) {
      v = load_row(x + i * 16);
    } else {
      From tail[16] = {};
      for (std::int64_t c = 0; c < left; ++c) tail[c] = x[i * 16 + c];
      v = load_row(tail);
    }
    if (scale == nullptr) return v;
    v = v * *scale;
    if constexpr (sizeof(From) == 2) v = from_bf16(to_bf16(v));
    return v;
  }
};

/// The same of a row of float32 blocks of A, which ends on whole segments.
struct HiddenRow {
  const std::byte* h;
  std::int64_t segments;

  MOEKIT_INLINE F16 operator()(std::int64_t i) const {
    return i < segments ? load<F16>(reinterpret_cast<const float*>(h + i * kSegmentBytes)) : F16{};
  }
};

/// The bits of the row's largest magnitude; those of NaN are above infinity's.
template <class Row>
MOEKIT_INLINE std::uint32_t largest_bits(const Row& row, std::int64_t count) {
  I16 most = {};
  for (std::int64_t i = 0; i < count; ++i) {
    const I16 bits = (I16)((U16)row(i) & 0x7fffffffu);
    most = where_less(most, bits, bits, most);
  }
  std::int32_t lane[16], largest = 0;
  store(lane, most);
  for (const std::int32_t bits : lane) largest = bits > largest ? bits : largest;
  return static_cast<std::uint32_t>(largest);
}

/// Scale of a row, and what it is divided by (one digit) or multiplied with (three) before rounding.
struct RowScaling {
  float scale, by;
};
template <int kDigits>
MOEKIT_INLINE RowScaling row_scaling(std::uint32_t largest) {
  const auto float_of = [](std::uint32_t bits) {
    float value;
    std::memcpy(&value, &bits, 4);
    return value;
  };
  if constexpr (kDigits == 1) {
    const float scale = float_of(largest) / 127.0f;
    return {scale, scale > 0.0f ? scale : 1.0f};
  }
  constexpr std::uint32_t kBits = 21;
  // Rows below 2^-104 keep fewer bits: their scale must stay a normal number. 65536 is folded into it (int_panel.h).
  const std::uint32_t exponent = largest >> 23 > kBits + 1 ? largest >> 23 : kBits + 1;
  return {float_of((exponent - kBits) << 23) * 65536.0f, float_of((254 - (exponent - kBits)) << 23)};
}

/// Signed bytes, least first, and what remains.
MOEKIT_INLINE I16 low_digit(I16& q) {
  const I16 digit = (I16)((U16)q << 24) >> 24;
  q = (q - digit) >> 8;
  return digit;
}

template <int kDigits, bool kNibbles, class Row>
void quantise_row(const Row& row, const TileFormat& format, int bias, std::byte* out) {
  const IntRows rows(format, kDigits);
  const std::int64_t units = rows.plane_bytes() / 16;
  const std::int64_t per_group = format.weight.group == 0 ? units : format.weight.group / 16;
  const std::uint32_t largest = largest_bits(row, units);
  const bool finite = largest < 0x7f800000u;
  const RowScaling scaling = row_scaling<kDigits>(finite ? largest : 0);
  constexpr float kNan = __builtin_nanf(""), kMagic = 12582912.0f;  // 1.5 * 2^23: adding it rounds to an integer
  const float scale = finite ? scaling.scale : kNan;
  std::memcpy(out, &scale, 4);
  auto* starts = reinterpret_cast<std::int32_t*>(out + IntRows::starts_at());
  auto* sums = reinterpret_cast<float*>(out + rows.sums_at());
  auto* planes = reinterpret_cast<std::int8_t*>(out + rows.digits_at());
  std::int64_t unit = 0;
  for (std::int64_t g = 0; unit < units; ++g) {
    const std::int64_t end = std::min(units, unit + per_group);
    I16 totals[kDigits] = {};
    for (; unit < end; ++unit) {
      I16 q = {};
      if (finite) {
        const F16 v = row(unit);
        const F16 scaled = kDigits == 1 ? v / scaling.by : v * scaling.by;
        q = to_int((scaled + kMagic) - kMagic);
      }
#pragma GCC unroll 3
      for (int d = 0; d < kDigits; ++d) {
        const I16 digit = low_digit(q);
        totals[d] += digit;
        B16 bytes = narrow(digit);
        if constexpr (kNibbles)
          bytes = MOEKIT_SHUFFLE(bytes, bytes, 0, 2, 4, 6, 1, 3, 5, 7, 8, 10, 12, 14, 9, 11, 13, 15);
        store(planes + d * rows.plane_bytes() + unit * 16, bytes);
      }
    }
    if (g >= rows.groups) continue;  // padding after the last group of 16
    float sum = 0.0f;
    for (int d = 0; d < kDigits; ++d) {
      const std::int32_t total = sum16(totals[d]);
      starts[g * kDigits + d] = -bias * total;
      sum = sum * (1.0f / 256.0f) + static_cast<float>(total);
    }
    sums[g] = sum;
  }
}

/// What codes are more than weights, where that is the same for all: kernels multiply unsigned bytes.
inline int code_bias(const WeightFormat& weight, bool signed_codes) noexcept {
  const int zero = weight.offset == Offset::kNone ? weight.zero : 0;
  if (weight.code == Code::kInt8) return zero + (signed_codes ? 0 : 128);
  return zero + (weight.code == Code::kE2M1 ? 12 : 0);  // twice the value, from -12 on
}

template <bool kSignedCodes, int kDigits, bool kNibbles>
void int_gather_as(const IntGatherArgs& args) noexcept {
  const IntRows rows(*args.format, kDigits);
  const int bias = code_bias(args.format->weight, kSignedCodes);
  for (std::int64_t r = 0; r < args.rows; ++r) {
    std::byte* out = args.a + r * rows.bytes();
    if (args.h != nullptr) {
      const std::byte* h = args.h + r / kBlockRows * args.h_segments * kSegmentBytes + r % kBlockRows * kLineBytes;
      quantise_row<kDigits, kNibbles>(HiddenRow{h, args.h_segments}, *args.format, bias, out);
      continue;
    }
    const std::int64_t at = (args.token != nullptr ? args.token[r] : r) * args.row_stride;
    const float* scale = args.scale != nullptr ? args.scale + r : nullptr;
    if (args.dtype == DType::kBFloat16) {
      const XRow<std::uint16_t> row{static_cast<const std::uint16_t*>(args.x) + at, args.columns, scale};
      quantise_row<kDigits, kNibbles>(row, *args.format, bias, out);
    } else {
      const XRow<float> row{static_cast<const float*>(args.x) + at, args.columns, scale};
      quantise_row<kDigits, kNibbles>(row, *args.format, bias, out);
    }
  }
}

template <bool kSignedCodes>
void int_gather(const IntGatherArgs& args) noexcept {
  const bool nibbles = code_bits(args.format->weight.code) == 4;
  if (args.digits == 1)
    return nibbles ? int_gather_as<kSignedCodes, 1, true>(args) : int_gather_as<kSignedCodes, 1, false>(args);
  nibbles ? int_gather_as<kSignedCodes, kFixedPointDigits, true>(args)
          : int_gather_as<kSignedCodes, kFixedPointDigits, false>(args);
}

}  // namespace
}  // namespace moekit::cpu
