// SPDX-License-Identifier: Apache-2.0
// What the tensors of a quantised matrix must be.
#include <initializer_list>
#include <string>

#include "core/shape_text.h"
#include "formats/ggml/blocks.h"
#include "moekit/error.h"
#include "moekit/quantised.h"

namespace moekit {
namespace {

using Shape = std::vector<std::int64_t>;

[[noreturn]] void fail(const TensorRef& tensor, const std::string& what) {
  throw CheckpointError("[quantised] " + tensor.name + ": " + what);
}

void check_dtype(const TensorRef& tensor, std::initializer_list<DType> allowed) {
  std::string list;
  for (const DType dtype : allowed) {
    if (tensor.dtype == dtype) return;
    list += (list.empty() ? "" : " or ") + std::string(dtype_name(dtype));
  }
  fail(tensor, "dtype " + std::string(dtype_name(tensor.dtype)) + ", expected " + list);
}

// `shape`, with a leading extent for a stack of matrices; trailing extents of 1 may be absent.
void check_shape(const TensorRef& tensor, const QuantTensors& of, Shape shape) {
  const Shape expected = shape;
  Shape stacked = shape;
  stacked.insert(stacked.begin(), of.count);
  const Shape whole = stacked, &seen = tensor.shape;
  if (seen == stacked || (of.count == 1 && seen == shape)) return;
  if (shape.back() == 1) {
    shape.pop_back();
    stacked.pop_back();
    if (seen == stacked || (of.count == 1 && (seen == shape || (shape == Shape{1} && seen.empty())))) return;
  }
  fail(tensor, "shape " + shape_text(seen) + ", expected " + shape_text(of.count == 1 ? expected : whole) + " for " +
                   std::to_string(of.rows) + " x " + std::to_string(of.cols) + " weights in " + describe(of.format));
}

void check_present(const QuantTensors& tensors, const TensorRef& tensor, const char* what) {
  if (!tensor) fail(tensors.codes, std::string("its ") + what + " are missing");
}

constexpr std::int64_t ceil_div(std::int64_t a, std::int64_t b) { return (a + b - 1) / b; }

void check_codes(const QuantTensors& t) {
  const int bits = code_bits(t.format.code);
  const std::int64_t slots = 32 / bits;
  switch (t.packing) {
    case Packing::kBytes:
      if (t.format.code == Code::kE4M3)
        check_dtype(t.codes, {DType::kFloat8E4M3, DType::kUInt8});
      else
        check_dtype(t.codes, {DType::kInt8});
      return check_shape(t.codes, t, {t.rows, t.cols});
    case Packing::kNibbles:
      check_dtype(t.codes, {DType::kUInt8, DType::kInt8});
      return check_shape(t.codes, t, {t.rows, ceil_div(t.cols, 2)});
    case Packing::kWordsAlongK:
      check_dtype(t.codes, {DType::kInt32});
      return check_shape(t.codes, t, {t.rows, ceil_div(t.cols, slots)});
    case Packing::kGptq:
      check_dtype(t.codes, {DType::kInt32});
      return check_shape(t.codes, t, {ceil_div(t.cols, slots), t.rows});
    case Packing::kAwq:
      check_dtype(t.codes, {DType::kInt32});
      if (t.rows % 8 != 0) fail(t.codes, std::to_string(t.rows) + " output columns, expected a multiple of 8");
      return check_shape(t.codes, t, {t.cols, t.rows / 8});
    case Packing::kGgml: {
      const GgmlRule* rule = ggml_rule(t.codes.encoding);
      if (rule == nullptr || rule->format != t.format)
        fail(t.codes, "blocks of " + std::string(t.codes.type_name()) + ", expected those of " + describe(t.format));
      return check_shape(t.codes, t, {t.rows, t.cols});
    }
  }
}

void check_scales(const QuantTensors& t) {
  const bool transposed = t.packing == Packing::kGptq || t.packing == Packing::kAwq;
  const std::int64_t groups = t.format.groups(t.cols), grid = ceil_div(t.rows, t.format.scale_rows);
  check_present(t, t.scales, "scales");
  if (t.format.scale == DType::kFloat8E8M0)
    check_dtype(t.scales, {DType::kFloat8E8M0, DType::kUInt8});
  else
    check_dtype(t.scales, {t.format.scale});
  check_shape(t.scales, t, transposed ? Shape{groups, t.rows} : Shape{grid, groups});
  if (t.format.row_scale == RowScale::kNone) return;
  check_present(t, t.row_scales, "tensor scales");
  check_dtype(t.row_scales, {DType::kFloat32});
  if (t.row_scales.elements() != 1) check_shape(t.row_scales, t, {1, 1});
}

void check_zeros(const QuantTensors& t) {
  if (t.format.offset != Offset::kZeroPoint) return;
  const std::int64_t groups = t.format.groups(t.cols), slots = 32 / code_bits(t.format.code);
  check_present(t, t.zeros, "zero points");
  switch (t.packing) {
    case Packing::kBytes:
    case Packing::kNibbles: check_dtype(t.zeros, {DType::kInt8}); return check_shape(t.zeros, t, {t.rows, groups});
    case Packing::kWordsAlongK:
      check_dtype(t.zeros, {DType::kInt32});
      return check_shape(t.zeros, t, {ceil_div(t.rows, slots), groups});
    case Packing::kGptq:
    case Packing::kAwq:
      check_dtype(t.zeros, {DType::kInt32});
      return check_shape(t.zeros, t, {groups, ceil_div(t.rows, slots)});
    case Packing::kGgml: return;
  }
}

}  // namespace

void validate(const QuantTensors& t) {
  if (t.rows < 1 || t.cols < 1 || t.count < 1)
    fail(t.codes, std::to_string(t.count) + " matrices of " + std::to_string(t.rows) + " x " + std::to_string(t.cols));
  if (t.format.plain()) fail(t.codes, "format " + std::string(t.format.name) + " is not a quantised one");
  check_codes(t);
  if (t.packing == Packing::kGgml) return;  // scales are inside the blocks
  check_scales(t);
  check_zeros(t);
  if (!t.column_groups) return;
  check_dtype(t.column_groups, {DType::kInt32, DType::kInt64});
  if (t.column_groups.shape != Shape{t.cols})
    fail(t.column_groups, "shape " + shape_text(t.column_groups.shape) + ", expected " + shape_text({t.cols}));
}

double stored_bytes(const MatrixRef& matrix) {
  const auto bytes = [](const TensorRef& tensor) { return tensor ? static_cast<double>(tensor.bytes()) : 0.0; };
  if (!matrix) return 0.0;
  const auto rows = static_cast<double>(matrix.rows);
  if (matrix.quant == nullptr)
    return rows * static_cast<double>(matrix.cols) * static_cast<double>(dtype_size(matrix.tensor.dtype));
  const QuantTensors& t = *matrix.quant;
  const double all = bytes(t.codes) + bytes(t.scales) + bytes(t.zeros) + bytes(t.row_scales);
  return all * rows / (static_cast<double>(t.rows) * static_cast<double>(t.count)) + bytes(t.column_groups);
}

MatrixRef quantised_matrix(std::shared_ptr<const QuantTensors> tensors, std::int64_t index) {
  if (index < 0 || index >= tensors->count)
    fail(tensors->codes, "expert " + std::to_string(index) + " of " + std::to_string(tensors->count));
  MatrixRef matrix{tensors->codes, index * tensors->rows, tensors->rows, tensors->cols, 1, 1};
  matrix.quant = std::move(tensors);
  return matrix;
}

}  // namespace moekit
