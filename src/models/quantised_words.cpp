// SPDX-License-Identifier: Apache-2.0
// Codes of 4 or 8 bits in int32 words: compressed-tensors' pack-quantized along a row, GPTQ along a column, AWQ.
#include "checkpoint/text.h"
#include "formats/format.h"
#include "models/quantised_projection.h"
#include "models/repeated_scale.h"
#include "models/scale_grid.h"

namespace moekit {
namespace {

WeightFormat integers(int bits, const TensorRef& scales, const Accounting& tensors) {
  if (scales.dtype != DType::kFloat32 && scales.dtype != DType::kBFloat16 && scales.dtype != DType::kFloat16)
    tensors.fail("tensor " + in_quotes(scales.name) + " has dtype " + std::string(dtype_name(scales.dtype)) +
                 ", expected float32, bfloat16 or float16");
  WeightFormat format = weight_format(bits == 4 ? "int4" : "int8");
  format.scale = scales.dtype;
  return format;
}

/// Bits of a code when `cols` of them lie in `words` words: 4 or 8.
int bits_of(const TensorRef& codes, std::int64_t words, const Projection& projection, const Accounting& tensors) {
  for (const int bits : {4, 8})
    if ((projection.cols * bits + 31) / 32 == words) return bits;
  tensors.fail("tensor " + in_quotes(codes.name) + " has shape " + shape_text(codes.shape) + ", expected " +
               std::to_string((projection.cols + 7) / 8) + " words of 4 bit codes or " +
               std::to_string((projection.cols + 3) / 4) + " of 8 bit ones for " + sizes_text(projection));
}

std::int64_t group_of(const TensorRef& scales, std::int64_t groups, const Quantisation& published,
                      const Projection& projection, const Accounting& tensors) {
  if (const auto group = group_of_scales(projection.cols, groups, published)) return *group;
  std::string sizes;
  for (const std::int64_t group : published.groups) sizes += (sizes.empty() ? "" : " or ") + std::to_string(group);
  tensors.fail("tensor " + in_quotes(scales.name) + " has shape " + shape_text(scales.shape) + ", expected groups of " +
               (sizes.empty() ? "equal sizes" : sizes) + " columns for " + sizes_text(projection));
}

/// The shape that the checkpoint notes, [rows, cols].
void check_noted_shape(const Projection& projection, Accounting& tensors) {
  const std::string name = projection.weight + "_shape";
  if (tensors.peek(name) == nullptr) return;
  const TensorRef& noted = tensors.take_any({name}, "shape");
  const std::vector<std::int64_t> seen = read_int64(noted), expected = {projection.rows, projection.cols};
  if (seen != expected)
    tensors.fail("tensor " + in_quotes(noted.name) + " holds " + shape_text(seen) + ", expected " +
                 shape_text(expected) + " (" + projection.why + ")");
}

std::int64_t extent(const TensorRef& tensor, std::size_t from_end) {
  return tensor.shape.size() < from_end ? 0 : tensor.shape[tensor.shape.size() - from_end];
}

}  // namespace

QuantTensors take_packed_words(const Quantisation& published, const Projection& projection, const std::string& codes,
                               Accounting& tensors) {
  const TensorRef& weight = tensors.take_any({codes}, "codes");
  const TensorRef& scales = tensors.take_any({projection.weight + "_scale"}, "scales of " + in_quotes(weight.name));
  check_noted_shape(projection, tensors);
  QuantTensors t;
  t.packing = Packing::kWordsAlongK;
  t.rows = projection.rows;
  t.cols = projection.cols;
  t.count = std::max<std::int64_t>(projection.count, 1);
  t.codes = weight;
  const auto grid = grid_of_shape(scales.shape, projection.count);
  t.format = integers(bits_of(weight, extent(weight, 1), projection, tensors), scales, tensors);
  t.format.group = group_of(scales, grid ? grid->cols : 0, published, projection, tensors);
  const bool one_scale = grid && grid->rows == 1 && grid->cols == 1;
  t.scales = one_scale ? repeated_rows(scales, t.count, t.rows) : scales;
  const std::string zeros = projection.weight + "_zero_point", order = projection.weight + "_g_idx";
  if (tensors.peek(zeros) != nullptr) {
    t.format.offset = Offset::kZeroPoint;
    t.format.zero = 0;
    t.zeros = tensors.take_any({zeros}, "zero points");
  }
  if (tensors.peek(order) != nullptr) t.column_groups = tensors.take_any({order}, "groups of columns");
  return t;
}

QuantTensors take_gptq_or_awq(const Quantisation& published, const Projection& projection, const std::string& codes,
                              Accounting& tensors) {
  const std::string beside = projection.beside();
  const TensorRef& weight = tensors.take_any({codes}, "codes");
  const TensorRef& scales = tensors.take_any({beside + "scales"}, "scales of " + in_quotes(weight.name));
  QuantTensors t;
  t.rows = projection.rows;
  t.cols = projection.cols;
  t.count = std::max<std::int64_t>(projection.count, 1);
  t.codes = weight;
  t.scales = scales;
  t.zeros = tensors.take_any({beside + "qzeros"}, "zero points of " + in_quotes(weight.name));
  // [cols, rows / 8] or [cols / 8, rows]: never the same shape, since rows / 8 < rows.
  const bool awq = extent(weight, 2) == projection.cols && extent(weight, 1) < projection.rows;
  t.packing = awq ? Packing::kAwq : Packing::kGptq;
  t.format = integers(awq ? 4 : bits_of(weight, extent(weight, 2), projection, tensors), scales, tensors);
  t.format.group = group_of(scales, extent(scales, 2), published, projection, tensors);
  t.format.offset = Offset::kZeroPoint;
  t.format.zero = 0;
  if (awq) return t;
  if (!published.gptq_zero_add)
    tensors.fail("tensor " + in_quotes(weight.name) +
                 " is of GPTQ, whose versions store zero points differently: expected a quantization_config (or "
                 "quantize_config.json) with quant_method gptq");
  t.zero_add = *published.gptq_zero_add;
  if (tensors.peek(beside + "g_idx") != nullptr)
    t.column_groups = tensors.take_any({beside + "g_idx"}, "groups of columns");
  return t;
}

}  // namespace moekit
