// SPDX-License-Identifier: Apache-2.0
#include "formats/quant_rows.h"

namespace moekit {

void QuantRows::resize(const WeightFormat& of, std::int64_t row_count, std::int64_t col_count) {
  format = of;
  rows = row_count;
  cols = col_count;
  const auto of_rows = [&](std::int64_t each) {
    return static_cast<std::size_t>(checked_mul(rows, each, "quantised matrix"));
  };
  scales.resize(of_rows(of.groups(cols)));
  zeros.resize(of.offset == Offset::kNone ? 0 : scales.size());
  row_scales.resize(of.row_scale == RowScale::kNone ? 0 : of_rows(1));
  super_scales.resize(of_rows(of.supers(cols)));
  super_mins.resize(of.offset == Offset::kMin ? super_scales.size() : 0);
  column_groups.clear();
  words = {};
}

GroupScale group_scale(const QuantRows& matrix, std::int64_t r, std::int64_t g) noexcept {
  const WeightFormat& format = matrix.format;
  const std::int64_t at = r * matrix.groups() + g;
  GroupScale group = {matrix.scales[static_cast<std::size_t>(at)], static_cast<float>(format.zero)};
  if (!matrix.zeros.empty()) group.offset = matrix.zeros[static_cast<std::size_t>(at)];
  if (format.super != 0) {
    const auto s = static_cast<std::size_t>(r * format.supers(matrix.cols) + g * format.group / format.super);
    group.scale *= matrix.super_scales[s];
    if (format.offset == Offset::kMin) group.offset *= matrix.super_mins[s];
  }
  if (format.row_scale == RowScale::kMultiplies) group.scale *= matrix.row_scales[static_cast<std::size_t>(r)];
  if (format.row_scale == RowScale::kDivides) group.scale /= matrix.row_scales[static_cast<std::size_t>(r)];
  return group;
}

void dequantise_row(const QuantRows& matrix, std::int64_t r, float* out) noexcept {
  const std::uint8_t* codes = matrix.codes.data() + r * matrix.cols;
  const bool subtracts_min = matrix.format.offset == Offset::kMin;
  std::int64_t last = -1;
  GroupScale group = {};
  for (std::int64_t k = 0; k < matrix.cols; ++k) {
    const std::int64_t g = matrix.group_of(k);
    if (g != last) group = group_scale(matrix, r, last = g);
    const float value = code_value(matrix.format.code, codes[k]);
    // A product of at most 6 bit codes with 24 bits of super scale and scale is exact: a fused subtraction rounds alike.
    out[k] = subtracts_min ? value * group.scale - group.offset : (value - group.offset) * group.scale;
  }
}

}  // namespace moekit
