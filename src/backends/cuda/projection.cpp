// SPDX-License-Identifier: Apache-2.0
#include "backends/cuda/projection.h"

#include <cstring>

#include "backends/cuda/pack.h"
#include "core/float_convert.h"
#include "core/thread_pool.h"
#include "formats/read.h"
#include "moekit/error.h"

namespace moekit::cuda {
namespace {

DeviceMemory upload_bias(const DeviceContext& device, const std::vector<ExpertTensors>& experts, ExpertPart part,
                         std::int64_t rows) {
  if (experts.empty() || !(experts.front().*part)) return {};
  const auto width = static_cast<std::size_t>(rows);
  std::vector<float> values(experts.size() * width);
  ByteScratch scratch;
  for (std::size_t e = 0; e < experts.size(); ++e) {
    const MatrixView view = (experts[e].*part).read(scratch);
    load_as_float(view.data, view.dtype, 0, view.col_stride, rows, values.data() + e * width);
  }
  return upload_vector(device, values, "biases");
}

// Host copies of one expert's matrix on its way.
struct Staging {
  ReadScratch read;
  std::vector<std::byte> codes;
  std::vector<float> scales, zeros;
};

void check_groups(const QuantRows& matrix, const MatrixRef& source) {
  for (std::size_t k = 0; k < matrix.column_groups.size(); ++k)
    if (matrix.column_groups[k] != static_cast<std::int64_t>(k) / matrix.format.group)
      throw UnsupportedError("[pack] " + source.tensor.name + ": column " + std::to_string(k) + " is of group " +
                             std::to_string(matrix.column_groups[k]) + " (act-order), cuda takes runs of " +
                             std::to_string(matrix.format.group) + " columns");
}

void pack_expert(const DeviceContext& device, const MatrixRef& source, std::size_t expert, bool nonfinite_scales,
                 const PackedProjection& packed, Staging& staging) {
  staging.codes.assign(packed.expert_bytes, std::byte{0});
  if (packed.format.plain()) {
    pack_plain(read_plain(source, staging.read), packed.format.element(), staging.codes.data());
  } else {
    const auto count = static_cast<std::size_t>(packed.quant.scale_count());
    staging.scales.assign(count, 0.0f);
    staging.zeros.assign(packed.quant.has_zeros ? count : 0, 0.0f);
    const QuantRows& matrix = read_quantised(source, packed.format, nonfinite_scales, staging.read);
    check_groups(matrix, source);
    pack_quant(packed.quant, matrix, staging.codes.data(), staging.scales.data(), staging.zeros.data());
    const std::size_t bytes = count * sizeof(float);
    upload(device, packed.scales.data() + expert * bytes, staging.scales.data(), bytes);
    if (packed.quant.has_zeros) upload(device, packed.zeros.data() + expert * bytes, staging.zeros.data(), bytes);
  }
  upload(device, packed.matrices.data() + expert * packed.expert_bytes, staging.codes.data(), staging.codes.size());
}

std::size_t of_experts(std::size_t experts, std::size_t each) {
  return static_cast<std::size_t>(
      checked_mul(static_cast<std::int64_t>(experts), static_cast<std::int64_t>(each), "packed experts"));
}

}  // namespace

PackedProjection pack_projection(const DeviceContext& device, const std::vector<ExpertTensors>& experts,
                                 ExpertPart part, ExpertPart bias, const WeightFormat& format, bool nonfinite_scales) {
  PackedProjection packed;
  packed.format = format;
  if (experts.empty() || !(experts.front().*part)) return packed;
  packed.rows = (experts.front().*part).rows;
  packed.cols = (experts.front().*part).cols;
  // Also checks that rows * cols can be counted.
  packed.expert_bytes = packed_bytes(packed.rows, packed.cols, format.plain() ? format.element() : DType::kFloat32);
  if (!format.plain()) {
    packed.quant = QuantLayout(format, packed.rows, packed.cols);
    packed.expert_bytes = packed.quant.code_bytes();
    const std::size_t bytes =
        of_experts(experts.size(), static_cast<std::size_t>(packed.quant.scale_count()) * sizeof(float));
    packed.scales = DeviceMemory(device, bytes, "scales");
    packed.zeros = DeviceMemory(device, packed.quant.has_zeros ? bytes : 0, "zero points");
  }
  packed.matrices = DeviceMemory(device, of_experts(experts.size(), packed.expert_bytes), "expert weights");
  parallel_for(num_threads(), static_cast<std::int64_t>(experts.size()), 1, [&](std::int64_t first, std::int64_t last) {
    Staging staging;
    for (auto e = static_cast<std::size_t>(first); e < static_cast<std::size_t>(last); ++e)
      pack_expert(device, experts[e].*part, e, nonfinite_scales, packed, staging);
  });
  packed.bias = upload_bias(device, experts, bias, packed.rows);
  return packed;
}

void unpack_matrix(const DeviceContext& device, const PackedProjection& packed, std::int64_t expert,
                   const MutableMatrixView& out) {
  if (out.data == nullptr) return;
  const auto e = static_cast<std::size_t>(expert);
  std::vector<std::byte> codes(packed.expert_bytes);
  download(device, codes.data(), packed.matrices.data() + e * packed.expert_bytes, codes.size());
  if (packed.format.plain()) return unpack_plain(codes.data(), packed.format.element(), out);
  const auto count = static_cast<std::size_t>(packed.quant.scale_count());
  std::vector<float> scales(count), zeros(packed.quant.has_zeros ? count : 0),
      row(static_cast<std::size_t>(packed.cols));
  download(device, scales.data(), packed.scales.data() + e * count * sizeof(float), count * sizeof(float));
  if (packed.quant.has_zeros)
    download(device, zeros.data(), packed.zeros.data() + e * count * sizeof(float), count * sizeof(float));
  for (std::int64_t r = 0; r < packed.rows; ++r) {
    unpack_quant_row(packed.quant, codes.data(), scales.data(), zeros.data(), r, row.data());
    for (std::int64_t c = 0; c < packed.cols; ++c)
      store_float(out.data, out.dtype, r * out.row_stride + c, row[static_cast<std::size_t>(c)]);
  }
}

void unpack_bias(const DeviceContext& device, const PackedProjection& packed, std::int64_t expert,
                 const MutableMatrixView& out) {
  if (out.data == nullptr) return;
  const auto bytes = static_cast<std::size_t>(packed.rows) * sizeof(float);
  download(device, out.data, packed.bias.data() + static_cast<std::size_t>(expert) * bytes, bytes);
}

// On the legacy default stream, and waited for: the host memory is used again at once.
void upload(const DeviceContext& device, void* to, const void* from, std::size_t bytes) {
  if (bytes == 0) return;
  const ContextScope current(device);
  device.check(device.driver.copy_to_device(device_pointer(to), from, bytes, nullptr), "cuMemcpyHtoDAsync",
               std::to_string(bytes) + " bytes");
  device.check(device.driver.stream_synchronize(nullptr), "cuStreamSynchronize");
}

void download(const DeviceContext& device, void* to, const void* from, std::size_t bytes) {
  const ContextScope current(device);
  device.check(device.driver.copy_to_host(to, device_pointer(from), bytes, nullptr), "cuMemcpyDtoHAsync",
               std::to_string(bytes) + " bytes");
  device.check(device.driver.stream_synchronize(nullptr), "cuStreamSynchronize");
}

}  // namespace moekit::cuda
