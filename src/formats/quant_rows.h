// SPDX-License-Identifier: Apache-2.0
// A quantised matrix on its way from a file, or from plain weights, to a backend's layout: one code a byte or codes as
// they lie in the file, scales as float32 (which holds every dtype of scales exactly). One matrix at a time: nothing
// keeps weights in this form.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

#include "moekit/weight_format.h"

namespace moekit {

/// Codes of 4 or 8 bits in 32-bit words: eight or four neighbours along k, the lowest k in the lowest bits. Words of a
/// row are there as far as it has codes; a last one that is not full may be cut short after its last byte.
struct CodeWords {
  const std::byte* data = nullptr;  // word w of row r lies at r * row_stride + w * word_stride bytes
  std::int64_t row_stride = 0, word_stride = 4;
  std::uint8_t flip = 0;  // to be XORed to every byte
  explicit operator bool() const noexcept { return data != nullptr; }
};

struct QuantRows {
  WeightFormat format;
  std::int64_t rows = 0, cols = 0;
  std::vector<std::uint8_t> codes;        // [rows, cols]; of no meaning where there are words
  CodeWords words;                        // a view of what was read, or nothing
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
  /// Sets format and sizes and makes room for scales and what else the format has, not for codes.
  void resize(const WeightFormat& of, std::int64_t row_count, std::int64_t col_count);
};

/// Makes room for codes, one a byte.
void resize_codes(QuantRows& matrix);
/// The words to codes.
void expand_words(QuantRows& matrix);
/// The words of row r, one after the other; behind the last code everything is zero up to the end of its word. Returns
/// the number of bytes.
std::int64_t copy_words(const QuantRows& matrix, std::int64_t r, std::uint8_t* out) noexcept;

/// Scale and subtrahend of group g of row r: w = value * scale - min, or (value - zero) * scale.
struct GroupScale {
  float scale, offset;
};
GroupScale group_scale(const QuantRows& matrix, std::int64_t r, std::int64_t g) noexcept;
/// Row r as float32, by the formula of weight_format.h: the oracle of every kernel.
void dequantise_row(const QuantRows& matrix, std::int64_t r, float* out) noexcept;

}  // namespace moekit
