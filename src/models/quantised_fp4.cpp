// SPDX-License-Identifier: Apache-2.0
// Two e2m1 codes a byte along a row, the even column in the low half. Scales of 32 are exponents: MXFP4 (gpt-oss as
// blocks [.., cols / 32, 16], DeepSeek-V4, compressed-tensors); of 16 are e4m3 with one more for the tensor: NVFP4,
// which ModelOpt multiplies by weight_scale_2 and compressed-tensors divides by weight_global_scale.
#include "checkpoint/text.h"
#include "formats/format.h"
#include "models/quantised_projection.h"

namespace moekit {
namespace {

/// [.., blocks, 16] bytes as [.., blocks * 16].
TensorRef rows_of_blocks(TensorRef tensor) {
  if (tensor.shape.size() < 2) return tensor;  // refused by its shape
  const std::int64_t bytes = tensor.shape.back();
  tensor.shape.pop_back();
  tensor.shape.back() = checked_mul(tensor.shape.back(), bytes, tensor.name);
  return tensor;
}

}  // namespace

QuantTensors take_fp4(const Quantisation&, const Projection& projection, const std::string& codes,
                      Accounting& tensors) {
  const TensorRef& weight = tensors.take_any({codes}, "codes");
  const bool blocks = codes == projection.weight + "_blocks";
  std::vector<std::string> names = {projection.weight + "_scale", projection.beside() + "scale",
                                    projection.weight + "_scale_inv"};
  if (blocks) names = {projection.weight + "_scales"};
  const TensorRef& scales = tensors.take_any(names, "scales of " + in_quotes(weight.name));

  QuantTensors t;
  t.packing = Packing::kNibbles;
  t.rows = projection.rows;
  t.cols = projection.cols;
  t.count = std::max<std::int64_t>(projection.count, 1);
  t.codes = blocks ? rows_of_blocks(weight) : weight;
  t.scales = scales;
  t.format = weight_format("mxfp4");
  if (scales.dtype != DType::kFloat8E4M3) return t;
  t.format = weight_format("nvfp4");
  const std::string divisor = projection.weight + "_global_scale";
  if (codes == projection.weight + "_packed") t.format.row_scale = RowScale::kDivides;
  t.row_scales = tensors.take_any({t.format.row_scale == RowScale::kDivides ? divisor : projection.weight + "_scale_2"},
                                  "tensor's scale of " + in_quotes(weight.name));
  return t;
}

}  // namespace moekit
