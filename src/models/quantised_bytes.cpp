// SPDX-License-Identifier: Apache-2.0
// One code a byte, [rows, cols] of e4m3 or int8, with a grid of scales that multiply: DeepSeek's block FP8 (whose
// weight_scale_inv multiplies too), MXFP8, and compressed-tensors' and ModelOpt's scales of rows and of tensors.
#include "checkpoint/text.h"
#include "formats/format.h"
#include "models/quantised_projection.h"
#include "models/repeated_scale.h"
#include "models/scale_grid.h"

namespace moekit {
namespace {

struct Parts {
  std::int64_t count, halves, rows;  // matrices of the stack, of which each has `halves`, of `rows` rows
  ScaleGrid grid;
  ScaleBlock block;
  bool may_be_one = true;  // a single scale may be that of the tensor
  bool one_scale = false;
};

/// What a grid means for matrices of `rows` rows.
bool fit_grid(const Quantisation& published, std::int64_t cols, bool exponents, Parts& parts) {
  if (const auto block = block_of_grid(parts.rows, cols, parts.grid, published, exponents)) {
    parts.block = *block;
    return true;
  }
  parts.one_scale = parts.may_be_one && parts.grid.rows == 1 && parts.grid.cols == 1;
  return parts.one_scale;
}

Parts read_grid(const Quantisation& published, const Projection& projection, const TensorRef& scales, bool exponents,
                const Accounting& tensors) {
  const std::int64_t count = std::max<std::int64_t>(projection.count, 1);
  // Where blocks are published, a grid of [1, 1] is one that was cut, not the scale of a tensor.
  const std::size_t extents = scales.shape.size() - (projection.count > 0 && !scales.shape.empty() ? 1 : 0);
  const bool may_be_one = published.blocks.empty() || extents < 2;
  if (const auto grid = grid_of_shape(scales.shape, projection.count)) {
    // Halves were matrices with grids of their own before they were put below each other.
    if (projection.halves > 1 && grid->rows % projection.halves == 0) {
      Parts parts = {
          count, projection.halves, projection.rows / projection.halves, {grid->rows / projection.halves, grid->cols},
          {},    may_be_one};
      if (fit_grid(published, projection.cols, exponents, parts)) return parts;
    }
    Parts parts = {count, 1, projection.rows, *grid, {}, may_be_one};
    if (fit_grid(published, projection.cols, exponents, parts)) return parts;
  }
  std::string sizes;
  for (const ScaleBlock& block : published.blocks)
    sizes += ", in blocks of " + std::to_string(block.rows) + " x " + std::to_string(block.cols);
  for (const std::int64_t group : published.groups) sizes += ", in groups of " + std::to_string(group);
  tensors.fail("tensor " + in_quotes(scales.name) + " has shape " + shape_text(scales.shape) +
               ", expected scales of a row, of the tensor" + (sizes.empty() ? ", in blocks of 128 x 128" : sizes) +
               " for " + sizes_text(projection));
}

TensorRef reshaped(TensorRef tensor, std::vector<std::int64_t> shape) {
  tensor.shape = std::move(shape);
  return tensor;
}

}  // namespace

QuantTensors take_bytes(const Quantisation& published, const Projection& projection, const std::string& codes,
                        Accounting& tensors) {
  const TensorRef& weight = tensors.take_any({codes}, "codes");
  const TensorRef scales =
      projection.scales ? projection.scales
                        : tensors.take_any({projection.weight + "_scale_inv", projection.weight + "_scale",
                                            projection.beside() + "scale", projection.beside() + "qscale_weight"},
                                           "scales of " + in_quotes(weight.name));
  tensors.mark(scales);
  const bool fp8 = weight.dtype == DType::kFloat8E4M3;
  const bool exponents = scales.dtype == DType::kUInt8 || scales.dtype == DType::kFloat8E8M0;
  if (!exponents && scales.dtype != DType::kFloat32 && scales.dtype != DType::kBFloat16 &&
      scales.dtype != DType::kFloat16)
    tensors.fail("tensor " + in_quotes(scales.name) + " has dtype " + std::string(dtype_name(scales.dtype)) +
                 ", expected float32, bfloat16, float16, or uint8 exponents");
  // The codes first: a grid is judged by sizes that hold.
  std::vector<std::int64_t> shape = {projection.rows, projection.cols};
  if (projection.count > 0) shape.insert(shape.begin(), projection.count);
  if (weight.shape != shape)
    tensors.fail("tensor " + in_quotes(weight.name) + " has shape " + shape_text(weight.shape) + ", expected " +
                 shape_text(shape) + " (" + projection.why + ")");

  const Parts parts = read_grid(published, projection, scales, exponents, tensors);
  QuantTensors t;
  t.rows = parts.rows;
  t.cols = projection.cols;
  t.count = parts.count * parts.halves;
  t.codes = projection.count > 0 ? reshaped(weight, {t.count, t.rows, t.cols}) : weight;
  if (projection.count == 0 && parts.halves > 1) t.codes = reshaped(weight, {t.count, t.rows, t.cols});
  t.format = weight_format(fp8 ? "fp8" : "int8");
  t.format.scale = exponents ? DType::kFloat8E8M0 : scales.dtype;
  t.format.group = parts.block.cols;
  t.format.scale_rows = parts.block.rows;
  if (fp8 && exponents && parts.block.rows == 1 && parts.block.cols == 32) t.format = weight_format("mxfp8");
  t.scales = parts.one_scale ? repeated_rows(scales, t.count, t.rows)
                             : reshaped(scales, {t.count, parts.grid.rows, parts.grid.cols});

  const TensorRef* zeros = tensors.peek(projection.weight + "_zero_point");
  if (fp8 || zeros == nullptr) return t;  // of symmetric codes: zeros, if there are any
  if (zeros->dtype != DType::kInt8 || zeros->elements() != scales.elements() || parts.block.rows != 1)
    tensors.fail("tensor " + in_quotes(zeros->name) + " has dtype " + std::string(dtype_name(zeros->dtype)) +
                 " and shape " + shape_text(zeros->shape) + ", expected int8 of the scales' " +
                 shape_text(scales.shape));
  tensors.take_any({projection.weight + "_zero_point"}, "zero points");
  t.format.offset = Offset::kZeroPoint;
  t.zeros = parts.one_scale ? repeated_rows(*zeros, t.count, t.rows)
                            : reshaped(*zeros, {t.count, parts.grid.rows, parts.grid.cols});
  return t;
}

}  // namespace moekit
