// SPDX-License-Identifier: Apache-2.0
// A quantised matrix on its way from a file, or from plain weights, to a backend's layout: one code a byte, scales as
// float32 (which holds every dtype of scales exactly). One matrix at a time: nothing keeps weights in this form.
#pragma once

#include <cstdint>
#include <vector>

#include "moekit/weight_format.h"

namespace moekit {

struct QuantRows {
  WeightFormat format;
  std::int64_t rows = 0, cols = 0;
  std::vector<std::uint8_t> codes;        // [rows, cols]
  std::vector<float> scales;              // [rows, groups]
  std::vector<float> zeros;               // [rows, groups]: zero points, or minima; empty for Offset::kNone
  std::vector<float> row_scales;          // [rows], or empty
  std::vector<float> super_scales;        // [rows, supers], or empty
  std::vector<float> super_mins;          // [rows, supers], or empty
  std::vector<std::int32_t> column_groups;  // [cols] group of each column; empty: k / group

  std::int64_t groups() const noexcept { return format.groups(cols); }
  std::int64_t group_of(std::int64_t k) const noexcept {
    return !column_groups.empty() ? column_groups[static_cast<std::size_t>(k)] : format.group == 0 ? 0 : k / format.group;
  }
  /// Sets format and sizes and makes room for codes, scales and what else the format has.
  void resize(const WeightFormat& of, std::int64_t row_count, std::int64_t col_count);
};

/// Scale and subtrahend of group g of row r: w = value * scale - min, or (value - zero) * scale.
struct GroupScale {
  float scale, offset;
};
GroupScale group_scale(const QuantRows& matrix, std::int64_t r, std::int64_t g) noexcept;
/// Row r as float32, by the formula of weight_format.h: the oracle of every kernel.
void dequantise_row(const QuantRows& matrix, std::int64_t r, float* out) noexcept;

}  // namespace moekit
