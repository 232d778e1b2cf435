// SPDX-License-Identifier: Apache-2.0
// Quantised matrices as checkpoints store them: which tensors belong together, and how codes are packed.
#pragma once

#include <cstdint>

#include "moekit/tensor.h"
#include "moekit/weight_format.h"

namespace moekit {

/// Where code (n, k) of a matrix of N rows (output columns) and K columns lies.
enum class Packing : std::uint8_t {
  kBytes,        // one code a byte, [.., N, K]: FP8, int8
  kNibbles,      // two a byte along K, the even k in the low half, [.., N, K / 2]: MXFP4, NVFP4
  kWordsAlongK,  // eight 4 bit codes an int32 along K, lowest bits first, [N, ceil(K / 8)]: compressed-tensors.
                 // Zero points likewise along N: [ceil(N / 8), groups]
  kGptq,         // eight 4 bit codes an int32 along K, [K / 8, N]; zero points eight along N, [groups, N / 8]
  kAwq,          // eight 4 bit codes an int32 along N in the order 0 2 4 6 1 3 5 7, [K, N / 8]; zero points likewise
  kGgml,         // blocks of GGUF with their scales inside
};

/// The tensors of one quantised matrix, or of a stack of equal ones (a leading dimension of experts).
struct QuantTensors {
  WeightFormat format;
  Packing packing = Packing::kBytes;
  std::int64_t rows = 0, cols = 0;  // of one matrix: N, K
  std::int64_t count = 1;           // matrices in the stack
  TensorRef codes;
  TensorRef scales;           // [.., ceil(N / scale_rows), groups]; transposed [groups, N] for kGptq and kAwq
  TensorRef zeros;            // zero points, for Offset::kZeroPoint
  TensorRef row_scales;       // one element, or one a matrix of the stack
  TensorRef column_groups;    // g_idx [K]: group of each column; empty: k / group
  std::int32_t zero_add = 0;  // added to stored zero points: 1 for GPTQ's first version
};

/// A matrix of the stack. Rows of it are taken with row_slice: for a quantised MatrixRef `offset` and `row_stride`
/// count rows of the stack, and `tensor` is that of the codes.
MatrixRef quantised_matrix(std::shared_ptr<const QuantTensors> tensors, std::int64_t index = 0);

/// Bytes that a matrix takes where it lies: its share of the elements, or of the codes, scales and what else it has.
double stored_bytes(const MatrixRef& matrix);

/// The matrix [N, K], or the stack [E, N, K], that a tensor in ggml's blocks is. Throws CheckpointError for blocks that
/// are not read, listing those that are.
std::shared_ptr<const QuantTensors> ggml_tensors(const TensorRef& tensor);

/// Checks dtypes and shapes of all tensors against format, rows and cols. Throws CheckpointError naming the tensor,
/// what was seen and what is expected.
void validate(const QuantTensors& tensors);

}  // namespace moekit
