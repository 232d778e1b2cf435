// SPDX-License-Identifier: Apache-2.0
#include <algorithm>

#include "backends/reference/reference.h"
#include "core/float_convert.h"
#include "formats/format.h"
#include "formats/read.h"

namespace moekit::reference {
namespace {

PackedMatrix pack_matrix(const MatrixRef& source, const WeightFormat& format, bool nonfinite_scales,
                         ReadScratch& scratch) {
  PackedMatrix packed;
  if (!source) return packed;
  packed.rows = source.rows;
  packed.cols = source.cols;
  if (!format.plain()) {
    packed.quant = read_quantised(source, format, nonfinite_scales, scratch);
    return packed;
  }
  const MatrixView view = read_plain(source, scratch, nonfinite_scales);
  packed.dtype = format.element();
  const auto size = static_cast<std::int64_t>(dtype_size(packed.dtype));
  packed.data.resize(
      static_cast<std::size_t>(checked_mul(view.rows, checked_mul(view.cols, size, "packed matrix"), "packed matrix")));
  std::vector<float> row(static_cast<std::size_t>(view.cols));
  for (std::int64_t r = 0; r < view.rows; ++r) {
    load_as_float(view.data, view.dtype, r * view.row_stride, view.col_stride, view.cols, row.data());
    for (std::int64_t c = 0; c < view.cols; ++c)
      store_float(packed.data.data(), packed.dtype, r * view.cols + c, row[static_cast<std::size_t>(c)]);
  }
  return packed;
}

std::vector<float> read_vector(const MatrixRef& source, ByteScratch& scratch) {
  if (!source) return {};
  const MatrixView view = source.read(scratch);
  std::vector<float> values(static_cast<std::size_t>(view.cols));
  load_as_float(view.data, view.dtype, 0, view.col_stride, view.cols, values.data());
  return values;
}

PackedExpert pack_expert(const ExpertTensors& tensors, const ExpertFormats& formats, bool nonfinite_scales,
                         ReadScratch& scratch) {
  PackedExpert expert;
  expert.gate = pack_matrix(tensors.gate, formats.gate, nonfinite_scales, scratch);
  expert.up = pack_matrix(tensors.up, formats.up, nonfinite_scales, scratch);
  expert.down = pack_matrix(tensors.down, formats.down, nonfinite_scales, scratch);
  expert.gate_bias = read_vector(tensors.gate_bias, scratch.bytes);
  expert.up_bias = read_vector(tensors.up_bias, scratch.bytes);
  expert.down_bias = read_vector(tensors.down_bias, scratch.bytes);
  return expert;
}

std::size_t expert_bytes(const std::vector<PackedExpert>& experts) noexcept {
  std::size_t bytes = 0;
  for (const PackedExpert& e : experts)
    bytes += e.gate.bytes() + e.up.bytes() + e.down.bytes() +
             sizeof(float) * (e.gate_bias.size() + e.up_bias.size() + e.down_bias.size());
  return bytes;
}

void unpack_matrix(const PackedMatrix& packed, const MutableMatrixView& out) {
  if (out.data == nullptr) return;
  if (out.dtype == DType::kUInt8) {  // the codes
    for (std::int64_t r = 0; r < packed.rows; ++r)
      std::copy_n(packed.quant.codes.data() + r * packed.cols, packed.cols,
                  static_cast<std::uint8_t*>(out.data) + r * out.row_stride);
    return;
  }
  std::vector<float> row(static_cast<std::size_t>(packed.cols));
  for (std::int64_t r = 0; r < packed.rows; ++r) {
    packed.expand(r, row.data());
    for (std::int64_t c = 0; c < packed.cols; ++c)
      store_float(out.data, out.dtype, r * out.row_stride + c, row[static_cast<std::size_t>(c)]);
  }
}

void unpack_vector(const std::vector<float>& values, const MutableMatrixView& out) {
  if (out.data != nullptr) std::copy(values.begin(), values.end(), static_cast<float*>(out.data));
}

}  // namespace

std::size_t PackedMatrix::bytes() const noexcept {
  return data.size() + quant.codes.size() +
         sizeof(float) * (quant.scales.size() + quant.zeros.size() + quant.row_scales.size() +
                          quant.super_scales.size() + quant.super_mins.size());
}

void PackedMatrix::expand(std::int64_t r, float* out) const noexcept {
  if (!quant.codes.empty()) return dequantise_row(quant, r, out);
  load_as_float(data.data(), dtype, r * cols, 1, cols, out);
}

void Packed::unpack(std::int64_t expert, bool of_shared, const ExpertViews& out) const {
  const PackedExpert& source = (of_shared ? shared : experts)[static_cast<std::size_t>(expert)];
  unpack_matrix(source.gate, out.gate);
  unpack_matrix(source.up, out.up);
  unpack_matrix(source.down, out.down);
  unpack_vector(source.gate_bias, out.gate_bias);
  unpack_vector(source.up_bias, out.up_bias);
  unpack_vector(source.down_bias, out.down_bias);
}

Packed::Packed(const BlockConfig& config, const BlockTensors& tensors, const BlockFormats& formats)
    : PackedBlock(config, uncompressed(formats)), tables(read_router_tables(config.router, tensors.router)) {
  if (config.router.source != RouterSource::kExternal) router_weight = read_float32(tensors.router.weight);
  ReadScratch scratch;
  for (const ExpertTensors& expert : tensors.experts)
    experts.push_back(pack_expert(expert, formats.routed, formats.nonfinite_scales, scratch));
  for (const ExpertTensors& expert : tensors.shared)
    shared.push_back(pack_expert(expert, formats.shared, formats.nonfinite_scales, scratch));
  shared_gate = read_vector(tensors.shared_gate, scratch.bytes);
}

std::size_t Packed::bytes() const noexcept {
  return expert_bytes(experts) + expert_bytes(shared) + sizeof(float) * (router_weight.size() + shared_gate.size());
}

std::string Packed::explain() const {
  const bool int8 = rounds_inputs(formats(), formats().routed);
  return std::string("reference: plain loops in float64 on one thread") +
         (int8 ? ", x rounded to int8 with a scale a row" : "") + "\n";
}

}  // namespace moekit::reference
