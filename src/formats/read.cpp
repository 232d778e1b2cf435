// SPDX-License-Identifier: Apache-2.0
#include "formats/read.h"

#include <cmath>
#include <string>

#include "core/float_convert.h"
#include "formats/format.h"
#include "formats/packings/packing.h"
#include "moekit/error.h"

namespace moekit {
namespace {

struct PackingRule {
  Packing packing;
  DecodeRows decode;
};
constexpr PackingRule kPackings[] = {
    {Packing::kBytes, decode_rows}, {Packing::kNibbles, decode_rows}, {Packing::kWordsAlongK, decode_rows},
    {Packing::kGptq, decode_gptq},  {Packing::kAwq, decode_awq},      {Packing::kGgml, decode_ggml},
};

[[noreturn]] void fail(const TensorRef& tensor, const std::string& what) {
  throw CheckpointError("[read] " + tensor.name + ": " + what);
}

void check_finite(const std::vector<float>& values, std::int64_t a_row, const char* what, const MatrixRef& matrix,
                  const TensorRef& tensor, bool divides = false) {
  // All of them first, so that the usual case is a loop of vectors.
  unsigned bad = 0;
  for (const float value : values)
    bad |= ((bits_from_float(value) & 0x7f800000u) == 0x7f800000u || (divides && value == 0.0f)) ? 1u : 0u;
  if (bad == 0) return;
  for (std::size_t i = 0; i < values.size(); ++i)
    if (!std::isfinite(values[i]) || (divides && values[i] == 0.0f)) {
      const auto at = static_cast<std::int64_t>(i);
      fail(tensor ? tensor : matrix.tensor,
           std::string(what) + " " + std::to_string(at % a_row) + " of row " +
               std::to_string(matrix.offset % matrix.quant->rows + at / a_row * matrix.row_stride) + " is " +
               std::to_string(values[i]) + ", expected a finite number" + (divides ? " to divide by" : ""));
    }
}

void decode(const MatrixRef& matrix, bool nonfinite_scales, ReadScratch& scratch) {
  const QuantTensors& tensors = *matrix.quant;
  QuantRows& out = scratch.quant;
  out.resize(tensors.format, matrix.rows, tensors.cols);
  const StackRows rows = {matrix.offset / tensors.rows, matrix.offset % tensors.rows, matrix.rows, matrix.row_stride};
  for (const PackingRule& rule : kPackings) {
    if (rule.packing != tensors.packing) continue;
    rule.decode(tensors, rows, scratch, out);
    if (nonfinite_scales) return;
    check_finite(out.scales, out.groups(), "scale", matrix, tensors.scales);
    check_finite(out.row_scales, 1, "tensor scale", matrix, tensors.row_scales,
                 tensors.format.row_scale == RowScale::kDivides);
    check_finite(out.super_scales, out.format.supers(out.cols), "super scale", matrix, tensors.scales);
    check_finite(out.super_mins, out.format.supers(out.cols), "super minimum", matrix, tensors.scales);
    return;
  }
  fail(matrix.tensor, "packing " + std::to_string(static_cast<int>(tensors.packing)) + " has no reader");
}

// All elements as contiguous float32 rows in scratch.floats.
void read_floats(const MatrixRef& matrix, bool nonfinite_scales, ReadScratch& scratch) {
  scratch.floats.resize(static_cast<std::size_t>(checked_mul(matrix.rows, matrix.cols, matrix.tensor.name)));
  if (matrix.quant != nullptr) {
    decode(matrix, nonfinite_scales, scratch);
    if (scratch.quant.words) expand_words(scratch.quant);
    for (std::int64_t r = 0; r < matrix.rows; ++r)
      dequantise_row(scratch.quant, r, scratch.floats.data() + r * matrix.cols);
    return;
  }
  const MatrixView view = matrix.read(scratch.bytes);
  for (std::int64_t r = 0; r < view.rows; ++r)
    load_as_float(view.data, view.dtype, r * view.row_stride, view.col_stride, view.cols,
                  scratch.floats.data() + r * view.cols);
}

}  // namespace

MatrixView read_plain(const MatrixRef& matrix, ReadScratch& scratch, bool nonfinite_scales) {
  if (matrix.quant == nullptr) return matrix.read(scratch.bytes);
  read_floats(matrix, nonfinite_scales, scratch);
  return {scratch.floats.data(), DType::kFloat32, matrix.rows, matrix.cols, matrix.cols, 1};
}

const QuantRows& read_quantised(const MatrixRef& matrix, const WeightFormat& format, bool nonfinite_scales,
                                ReadScratch& scratch) {
  read_words(matrix, format, nonfinite_scales, scratch);
  if (scratch.quant.words) expand_words(scratch.quant);
  return scratch.quant;
}

const QuantRows& read_words(const MatrixRef& matrix, const WeightFormat& format, bool nonfinite_scales,
                            ReadScratch& scratch) {
  if (matrix.quant != nullptr && matrix.quant->format == format) {
    decode(matrix, nonfinite_scales, scratch);
    return scratch.quant;
  }
  const auto quantise = format_entry(format.name).quantise;
  if (quantise == nullptr)
    throw UnsupportedError("[quantise] " + matrix.tensor.name + ": " + describe(format) +
                           " is read from checkpoints, not made from other weights");
  read_floats(matrix, false, scratch);
  for (std::size_t i = 0; i < scratch.floats.size(); ++i)
    if (!std::isfinite(scratch.floats[i]))
      fail(matrix.tensor, "element (" + std::to_string(scratch.first_row + static_cast<std::int64_t>(i) / matrix.cols) +
                              ", " + std::to_string(static_cast<std::int64_t>(i) % matrix.cols) + ") is " +
                              std::to_string(scratch.floats[i]) + ", which " + std::string(format.name) +
                              " cannot hold");
  scratch.quant.resize(format, matrix.rows, matrix.cols);
  resize_codes(scratch.quant);
  quantise(scratch.floats.data(), scratch.quant);
  return scratch.quant;
}

TensorRef decoded(const TensorRef& tensor) {
  if (tensor.encoding == Encoding::kPlain) return tensor;
  TensorRef rows = tensor;  // all rows as one matrix
  const std::int64_t cols = tensor.shape.back();
  rows.shape = {cols == 0 ? 0 : tensor.elements() / cols, cols};
  const auto values = std::make_shared<ReadScratch>();
  read_plain(quantised_matrix(ggml_tensors(rows)), *values, true);  // shows what is there
  values->bytes = {};
  values->quant = {};
  return memory_tensor(tensor.name, values->floats.data(), DType::kFloat32, tensor.shape, values);
}

std::vector<std::int32_t> column_groups(const MatrixRef& matrix) {
  if (matrix.quant == nullptr || !matrix.quant->column_groups) return {};
  ReadScratch scratch;
  QuantRows columns;
  columns.resize(matrix.quant->format, 0, matrix.quant->cols);
  read_column_groups(*matrix.quant, scratch, columns);
  return std::move(columns.column_groups);
}

WeightFormat format_of(const MatrixRef& matrix) {
  if (matrix.quant != nullptr) return matrix.quant->format;
  const DType dtype = matrix.tensor.dtype;
  return weight_format(dtype == DType::kBFloat16 || dtype == DType::kFloat16 ? dtype_name(dtype) : "float32");
}

}  // namespace moekit
