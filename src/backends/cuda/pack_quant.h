// SPDX-License-Identifier: Apache-2.0
// Quantised matrices in the order in which the kernels' lanes read them (gemm_groups.h), and back.
//
// Codes [rows, cols], padded to 32 of each: tiles of 16 rows x 32 columns, row tile by row tile, in it column step by
// column step (codes of four bits: two steps by two steps, padded to 64 columns), lane by lane 16 bytes. Lane (g, q)
// holds, step by step and for each half of 16 columns, columns 4 q .. 4 q + 3 of rows g and g + 8. Scales and zero
// points (or minima): float32 [groups, padded rows], group 0 of all rows first.
#pragma once

#include <cstddef>
#include <vector>

#include "formats/quant_rows.h"

namespace moekit::cuda {

/// How kernels hold a code.
enum class CodeKind : int { kUInt4, kUInt8, kE2M1, kE4M3 };
CodeKind code_kind(Code code) noexcept;

/// Sizes of a quantised [rows, cols] matrix of a format.
struct QuantLayout {
  QuantLayout() = default;
  QuantLayout(const WeightFormat& format, std::int64_t rows, std::int64_t cols);
  WeightFormat format;
  CodeKind kind = CodeKind::kUInt4;
  std::int64_t rows = 0, cols = 0;
  std::int64_t group_halves = 1;  // of 16 columns
  std::int64_t groups = 0;        // with those of padding columns alone
  bool has_zeros = false;         // an array of zero points or minima
  float constant_zero = 0.0f;     // of formats without
  std::size_t code_bytes() const noexcept;
  std::int64_t scale_count() const noexcept;
};

/// `order` [cols of the layout] (or null): the column of the matrix that comes first, second, ..., -1 for none. `codes`
/// holds code_bytes() zero bytes, `scales` and (with has_zeros) `zeros` scale_count() zeros.
void pack_quant(const QuantLayout& layout, const QuantRows& matrix, const std::int32_t* order, std::byte* codes,
                float* scales, float* zeros);
/// Row r as float32, in the order in which it was packed: the bits that dequantise_row() gives.
void unpack_quant_row(const QuantLayout& layout, const std::byte* codes, const float* scales, const float* zeros,
                      std::int64_t r, float* out);

}  // namespace moekit::cuda
