// SPDX-License-Identifier: Apache-2.0
// Reading an expert matrix for packing, whatever it is in the file and whatever it shall become.
#pragma once

#include <vector>

#include "formats/quant_rows.h"
#include "moekit/quantised.h"

namespace moekit {

/// Memory that reading uses again for the next matrix. One a thread.
struct ReadScratch {
  ByteScratch bytes, scale_bytes;
  ByteScratch words;  // codes in another order than the file's
  std::vector<float> floats;
  QuantRows quant;
  std::int64_t first_row = 0;  // of the matrix that is read in its own matrix, for messages
};

/// The matrix as plain elements: as they lie, or dequantised to float32. The view lives until scratch is next used.
/// Throws CheckpointError as read_quantised does.
MatrixView read_plain(const MatrixRef& matrix, ReadScratch& scratch, bool nonfinite_scales = false);

/// The matrix in a quantised format: its own codes when it is in this format, quantised otherwise.
/// Throws CheckpointError naming the tensor for a scale that is NaN or infinite, or 0 and a divisor (unless
/// `nonfinite_scales`), for a weight that is NaN or infinite and shall be quantised, and for a group index out of
/// range; UnsupportedError for a format that has no quantiser.
const QuantRows& read_quantised(const MatrixRef& matrix, const WeightFormat& format, bool nonfinite_scales,
                                ReadScratch& scratch);
/// The same, with codes left in words where they are in words in the file. The words live until scratch is next used.
const QuantRows& read_words(const MatrixRef& matrix, const WeightFormat& format, bool nonfinite_scales,
                            ReadScratch& scratch);

/// The tensor itself when its elements are plain; one of float32 in memory with the same shape when it is in blocks.
TensorRef decoded(const TensorRef& tensor);

/// The group of each column of a quantised matrix; empty where it is k / group (other than in GPTQ's act-order). Reads
/// g_idx. Throws CheckpointError for an index out of range.
std::vector<std::int32_t> column_groups(const MatrixRef& matrix);
inline bool has_column_groups(const MatrixRef& matrix) { return !column_groups(matrix).empty(); }

/// The matrix's own format; float32 for float64.
WeightFormat format_of(const MatrixRef& matrix);

}  // namespace moekit
