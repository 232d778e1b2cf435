// SPDX-License-Identifier: Apache-2.0
#include "backends/cpu/tile_format.h"

#include <algorithm>

namespace moekit::cpu {
namespace {

// Of one column and group.
std::int64_t offset_bytes(const WeightFormat& weight) {
  return weight.offset == Offset::kNone ? 0 : static_cast<std::int64_t>(dtype_size(offset_dtype(weight.offset)));
}

// Super scales, and minima where the format has them, of 16 columns in float16.
std::int64_t super_bytes(const WeightFormat& weight) {
  return weight.super == 0 ? 0 : kTileColumns * 2 * (weight.offset == Offset::kMin ? 2 : 1);
}

// Header bytes of a block of `span` steps.
std::int64_t header_bytes(const WeightFormat& weight, std::int64_t span) {
  const std::int64_t groups = span * kQuantStep / weight.group;
  const auto scale = static_cast<std::int64_t>(dtype_size(weight.scale));
  return super_bytes(weight) + kTileColumns * groups * (scale + offset_bytes(weight));
}

}  // namespace

TileFormat tile_format(const WeightFormat& weight, std::int64_t cols, bool uniform, bool by_column) {
  TileFormat format;
  format.weight = weight;
  format.uniform = uniform;
  format.by_column = by_column;
  format.groups = weight.groups(cols);
  format.steps = ceil_div(cols, kQuantStep);
  format.code_bytes = kQuantStep * kTileColumns * code_bits(weight.code) / 8;
  const std::int64_t lanes = kTileColumns * 4;  // a float32 a column
  if (weight.row_scale != RowScale::kNone) format.head_bytes += lanes;
  const std::int64_t zero_bytes = kTileColumns * offset_bytes(weight);
  if (uniform) {
    format.head_bytes += round_up(format.groups * 4, kLineBytes);
  } else if (weight.group == 0 || by_column) {
    format.head_bytes += round_up(format.groups * (lanes + zero_bytes), kLineBytes);
  }
  if (uniform || weight.group == 0 || by_column) {
    format.span = std::max<std::int64_t>(1, format.steps);
    return format;
  }
  // A super block, or as many groups as give whole cache lines.
  format.span = std::max<std::int64_t>({1, weight.group / kQuantStep, weight.super / kQuantStep});
  while (weight.super == 0 && header_bytes(weight, format.span) % kLineBytes != 0) format.span *= 2;
  format.header_bytes = round_up(header_bytes(weight, format.span), kLineBytes);
  format.scale_bytes = kTileColumns * static_cast<std::int64_t>(dtype_size(weight.scale));
  format.scales_at = super_bytes(weight);
  format.offsets_at = format.scales_at + format.header_groups() * format.scale_bytes;
  return format;
}

}  // namespace moekit::cpu
