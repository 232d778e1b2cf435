// SPDX-License-Identifier: Apache-2.0
#include <algorithm>
#include <cstring>

#include "backends/reference/reference.h"
#include "core/float_convert.h"

namespace moekit::reference {
namespace {

PackedMatrix pack_matrix(const MatrixRef& source, const WeightFormat& format, ByteScratch& scratch) {
  PackedMatrix packed;
  if (!source) return packed;
  const MatrixView view = source.read(scratch);
  packed.rows = view.rows;
  packed.cols = view.cols;
  const std::size_t row_bytes = format.row_bytes(view.cols);
  checked_mul(view.rows, static_cast<std::int64_t>(row_bytes), "packed matrix");
  packed.data.resize(static_cast<std::size_t>(view.rows) * row_bytes);
  std::vector<float> row(static_cast<std::size_t>(view.cols));
  for (std::int64_t r = 0; r < view.rows; ++r) {
    load_as_float(view.data, view.dtype, r * view.row_stride, view.col_stride, view.cols, row.data());
    format.quantise(row.data(), view.cols, packed.data.data() + static_cast<std::size_t>(r) * row_bytes);
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

PackedExpert pack_expert(const ExpertTensors& tensors, const WeightFormat& format, ByteScratch& scratch) {
  PackedExpert expert;
  expert.gate = pack_matrix(tensors.gate, format, scratch);
  expert.up = pack_matrix(tensors.up, format, scratch);
  expert.down = pack_matrix(tensors.down, format, scratch);
  expert.gate_bias = read_vector(tensors.gate_bias, scratch);
  expert.up_bias = read_vector(tensors.up_bias, scratch);
  expert.down_bias = read_vector(tensors.down_bias, scratch);
  return expert;
}

std::size_t expert_bytes(const std::vector<PackedExpert>& experts) noexcept {
  std::size_t bytes = 0;
  for (const PackedExpert& e : experts)
    bytes += e.gate.data.size() + e.up.data.size() + e.down.data.size() +
             sizeof(float) * (e.gate_bias.size() + e.up_bias.size() + e.down_bias.size());
  return bytes;
}

// Packed rows of a plain format are the rows that were given.
void unpack_matrix(const PackedMatrix& packed, const WeightFormat& format, const MutableMatrixView& out) {
  if (out.data == nullptr) return;
  const std::size_t row_bytes = format.row_bytes(packed.cols);
  const auto stride = static_cast<std::size_t>(out.row_stride) * dtype_size(out.dtype);
  for (std::size_t r = 0; r < static_cast<std::size_t>(packed.rows); ++r)
    std::memcpy(static_cast<std::byte*>(out.data) + r * stride, packed.data.data() + r * row_bytes, row_bytes);
}

void unpack_vector(const std::vector<float>& values, const MutableMatrixView& out) {
  if (out.data != nullptr) std::copy(values.begin(), values.end(), static_cast<float*>(out.data));
}

}  // namespace

void Packed::unpack(std::int64_t expert, bool of_shared, const ExpertViews& out) const {
  if (format().block != 1) return PackedBlock::unpack(expert, of_shared, out);
  const PackedExpert& source = (of_shared ? shared : experts)[static_cast<std::size_t>(expert)];
  unpack_matrix(source.gate, format(), out.gate);
  unpack_matrix(source.up, format(), out.up);
  unpack_matrix(source.down, format(), out.down);
  unpack_vector(source.gate_bias, out.gate_bias);
  unpack_vector(source.up_bias, out.up_bias);
  unpack_vector(source.down_bias, out.down_bias);
}

Packed::Packed(const BlockConfig& config, const BlockTensors& tensors, const WeightFormat& format)
    : PackedBlock(config, format), tables(read_router_tables(config.router, tensors.router)) {
  if (config.router.source != RouterSource::kExternal) router_weight = read_float32(tensors.router.weight);
  ByteScratch scratch;
  for (const ExpertTensors& expert : tensors.experts) experts.push_back(pack_expert(expert, format, scratch));
  for (const ExpertTensors& expert : tensors.shared) shared.push_back(pack_expert(expert, format, scratch));
  shared_gate = read_vector(tensors.shared_gate, scratch);
}

std::size_t Packed::bytes() const noexcept {
  return expert_bytes(experts) + expert_bytes(shared) + sizeof(float) * (router_weight.size() + shared_gate.size());
}

std::string Packed::explain() const { return "reference: plain loops in float64 on one thread\n"; }

}  // namespace moekit::reference
