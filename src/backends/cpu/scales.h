// SPDX-License-Identifier: Apache-2.0
// Scales of sixteen columns, from the short types in which streams keep them.
#pragma once

#include "backends/cpu/tile_format.h"
#include "backends/cpu/vec.h"

namespace moekit::cpu {
namespace {

MOEKIT_INLINE F16 from_words(U16 bits) { return (F16)bits; }

/// e4m3 in the low bytes: 4 exponent bits with bias 7; exponent 0 is mantissa * 2^-9; 0x7f is NaN.
MOEKIT_INLINE F16 from_e4m3(U16 code) {
  const U16 magnitude = code & 0x7fu;
  const F16 normal = from_words((magnitude << 20) + (120u << 23));
  const F16 small = to_float((I16)magnitude) * 0x1p-9f;
  const U16 value = where_less(magnitude, U16{} + 8u, (U16)small, (U16)normal);
  return from_words(where_equal(magnitude, U16{} + 0x7fu, value | 0x7fc00000u, value) | ((code & 0x80u) << 24));
}

/// e2m1 in the low nibbles: 2 exponent bits with bias 1; exponent 0 is mantissa / 2.
MOEKIT_INLINE F16 from_e2m1(U16 code) {
  const U16 magnitude = code & 7u;
  const U16 normal = (magnitude << 22) + (126u << 23);
  const U16 small = -magnitude & (126u << 23);  // 0 or 0.5
  return from_words(where_less(magnitude, U16{} + 2u, small, normal) | ((code & 8u) << 28));
}

/// IEEE binary16: 5 exponent bits with bias 15; exponent 0 is mantissa * 2^-24; 31 is infinity and NaN.
MOEKIT_INLINE F16 from_fp16(H16 half) {
  const U16 code = widen(half), magnitude = code & 0x7fffu;
  const U16 normal = (magnitude << 13) + (112u << 23);
  const U16 small = (U16)(to_float((I16)magnitude) * 0x1p-24f);
  const U16 special = (magnitude << 13) | 0x7f800000u;
  const U16 value =
      where_less(magnitude, U16{} + 0x400u, small, where_less(magnitude, U16{} + 0x7c00u, normal, special));
  return from_words(value | ((code & 0x8000u) << 16));
}

/// e8m0: 2^(b - 127); 0 is 2^-127, which float32 has as a subnormal number only; 255 is NaN.
MOEKIT_INLINE F16 from_e8m0(U16 code) {
  const U16 bits = where_equal(code, U16{}, U16{} + 0x00400000u, code << 23);
  return from_words(where_equal(code, U16{} + 255u, bits | 0x00400000u, bits));
}

MOEKIT_INLINE F16 load_lanes(const std::byte* at, DType dtype) {
  switch (dtype) {
    case DType::kBFloat16: return from_bf16(load<H16>(at));
    case DType::kFloat16: return from_fp16(load<H16>(at));
    case DType::kFloat8E8M0: return from_e8m0(widen(load<B16>(at)));
    case DType::kFloat8E4M3: return from_e4m3(widen(load<B16>(at)));
    case DType::kUInt8: return to_float((I16)widen(load<B16>(at)));
    case DType::kInt8: {
      const U16 word = widen(load<B16>(at)) << 24;
      return to_float((I16)word >> 24);
    }
    default: return load<F16>(at);
  }
}

/// Scale and offset of a group for 16 columns.
struct GroupLanes {
  F16 scale, offset;
};

MOEKIT_INLINE F16 with_row_scale(const WeightFormat& weight, const std::byte* stream, F16 scale) {
  if (weight.row_scale == RowScale::kMultiplies) return scale * load<F16>(stream);
  if (weight.row_scale == RowScale::kDivides) return scale / load<F16>(stream);
  return scale;
}

/// Group g of those in the head.
MOEKIT_INLINE GroupLanes head_group(const TileFormat& format, const std::byte* stream, std::int64_t g) {
  const WeightFormat& weight = format.weight;
  const std::byte* head = stream + (weight.row_scale != RowScale::kNone ? kLineBytes : 0);
  GroupLanes group = {F16{}, splat(static_cast<float>(weight.zero))};
  if (format.uniform) {
    float scale;
    std::memcpy(&scale, head + g * 4, 4);
    group.scale = splat(scale);
  } else {
    group.scale = load<F16>(head + g * kLineBytes);
    if (weight.offset == Offset::kZeroPoint)
      group.offset = load_lanes(head + format.groups * kLineBytes + g * kTileColumns * 2, DType::kBFloat16);
  }
  group.scale = with_row_scale(weight, stream, group.scale);
  return group;
}

/// Group g of the block's header.
MOEKIT_INLINE GroupLanes header_group(const TileFormat& format, const std::byte* stream, const std::byte* header,
                                      std::int64_t g) {
  const WeightFormat& weight = format.weight;
  const std::byte* offsets = header + format.offsets_at;
  GroupLanes group = {load_lanes(header + format.scales_at + g * format.scale_bytes, weight.scale),
                      splat(static_cast<float>(weight.zero))};
  if (weight.super != 0) group.scale = load_lanes(header, DType::kFloat16) * group.scale;
  if (weight.offset == Offset::kZeroPoint) group.offset = load_lanes(offsets + g * kTileColumns * 2, DType::kBFloat16);
  if (weight.offset == Offset::kMin)
    group.offset =
        load_lanes(header + kTileColumns * 2, DType::kFloat16) * load_lanes(offsets + g * kTileColumns, DType::kUInt8);
  group.scale = with_row_scale(weight, stream, group.scale);
  return group;
}

}  // namespace
}  // namespace moekit::cpu
