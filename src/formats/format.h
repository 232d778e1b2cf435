// SPDX-License-Identifier: Apache-2.0
// Weight formats: one file each, one line each in formats.cpp.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string_view>

#include "moekit/core.h"

namespace moekit {

/// A way to hold a row of `cols` weights.
struct WeightFormat {
  std::string_view name;      // "float32", "bfloat16"
  DType element;              // storage element of plain formats
  std::int64_t block;         // weights that share a block along a row (1 for plain formats)
  std::size_t block_bytes;    // bytes of a block
  void (*quantise)(const float* row, std::int64_t cols, void* out) noexcept;
  void (*dequantise)(const void* row, std::int64_t cols, float* out) noexcept;

  std::size_t row_bytes(std::int64_t cols) const noexcept {
    return static_cast<std::size_t>((cols + block - 1) / block) * block_bytes;
  }
};

/// All formats, in the order in which they are documented.
const WeightFormat* const* weight_formats(std::size_t* count);
/// Throws std::invalid_argument listing the names that exist.
const WeightFormat& weight_format(std::string_view name);

}  // namespace moekit
