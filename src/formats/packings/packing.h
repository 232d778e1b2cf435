// SPDX-License-Identifier: Apache-2.0
// How codes and scales lie in files: one file a packing, one line each in ../read.cpp.
#pragma once

#include "formats/read.h"

namespace moekit {

/// Rows first, first + step, ... (count of them) of matrix `index` of a stack.
struct StackRows {
  std::int64_t index = 0, first = 0, count = 0, step = 1;
  std::int64_t last() const noexcept { return first + (count - 1) * step; }
};

/// Codes (or words of them), scales and zero points of some rows. `out` has its sizes, but for codes.
using DecodeRows = void (*)(const QuantTensors& tensors, const StackRows& rows, ReadScratch& scratch, QuantRows& out);
void decode_rows(const QuantTensors& tensors, const StackRows& rows, ReadScratch& scratch, QuantRows& out);
void decode_gptq(const QuantTensors& tensors, const StackRows& rows, ReadScratch& scratch, QuantRows& out);
void decode_awq(const QuantTensors& tensors, const StackRows& rows, ReadScratch& scratch, QuantRows& out);
void decode_ggml(const QuantTensors& tensors, const StackRows& rows, ReadScratch& scratch, QuantRows& out);

// scales.cpp: the parts that packings share.

/// Scales [.., ceil(N / scale_rows), groups] of the rows.
void read_scales(const QuantTensors& tensors, const StackRows& rows, ReadScratch& scratch, QuantRows& out);
/// Scales [groups, N] of the rows.
void read_transposed_scales(const QuantTensors& tensors, const StackRows& rows, ReadScratch& scratch, QuantRows& out);
/// The tensor's own scale, one for all or one a matrix of the stack.
void read_row_scale(const QuantTensors& tensors, const StackRows& rows, ReadScratch& scratch, QuantRows& out);
/// Group indices of the columns; left empty when they are k / group.
void read_column_groups(const QuantTensors& tensors, ReadScratch& scratch, QuantRows& out);
/// All bytes of a tensor.
const std::byte* read_all(const TensorRef& tensor, ByteScratch& scratch);
/// Those of matrix `index` of the stack, of a tensor that has as many of each.
const std::byte* read_one(const QuantTensors& tensors, const TensorRef& tensor, std::int64_t index,
                          ByteScratch& scratch);

/// Codes of `bits` bits (4 or 8) in int32 words, lowest bits first.
inline std::uint32_t word_code(const std::byte* words, std::int64_t word, std::int64_t slot, int bits) noexcept {
  std::uint32_t value;
  __builtin_memcpy(&value, words + word * 4, 4);
  return (value >> (slot * bits)) & ((1u << bits) - 1u);
}
/// Zero points of codes of 8 bits, which are two's complement here and unsigned in words: 128 below.
inline float zero_from_unsigned(std::int32_t zero, int bits) noexcept {
  return static_cast<float>(bits == 8 ? zero - 128 : zero);
}

}  // namespace moekit
