// SPDX-License-Identifier: Apache-2.0
#include "backends/cuda/projection.h"

#include <algorithm>
#include <numeric>

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

// The groups of a matrix's columns where it keeps its own codes; empty: runs.
std::vector<std::int32_t> groups_of(const MatrixRef& source, const WeightFormat& format) {
  return source.quant != nullptr && source.quant->format == format ? column_groups(source)
                                                                   : std::vector<std::int32_t>();
}

// Columns of the largest group of any expert, in halves of 16 as kernels count; 0: all groups are runs.
std::int64_t widest_group(const std::vector<ExpertTensors>& experts, ExpertPart part, const WeightFormat& format) {
  std::int64_t widest = 0;
  for (const ExpertTensors& expert : experts) {
    std::vector<std::int64_t> sizes;
    for (const std::int32_t group : groups_of(expert.*part, format)) {
      const auto g = static_cast<std::size_t>(group);
      if (g >= sizes.size()) sizes.resize(g + 1);
      widest = std::max(widest, ++sizes[g]);
    }
  }
  return widest == 0 ? 0 : (std::max(widest, format.group) + 15) / 16 * 16;
}

// The columns of a matrix group by group; -1 fills groups up to the width of the layout, and rows to their padding.
std::vector<std::int32_t> column_order(const QuantLayout& layout, const QuantRows& matrix) {
  std::vector<std::int32_t> order(static_cast<std::size_t>(padded(layout.cols)), -1);
  std::vector<std::int64_t> next(static_cast<std::size_t>(matrix.groups()));
  for (std::int64_t k = 0; k < matrix.cols; ++k) {
    const std::int64_t group = matrix.group_of(k);
    const std::int64_t at = group * layout.format.group + next[static_cast<std::size_t>(group)]++;
    order[static_cast<std::size_t>(at)] = static_cast<std::int32_t>(k);
  }
  return order;
}

void pack_expert(const DeviceContext& device, const MatrixRef& source, std::size_t expert, bool nonfinite_scales,
                 const PackedProjection& packed, Staging& staging) {
  staging.codes.assign(packed.expert_bytes, std::byte{0});
  if (packed.format.plain()) {
    pack_plain(read_plain(source, staging.read), packed.format.element(), packed.row_major, staging.codes.data());
  } else {
    const auto count = static_cast<std::size_t>(packed.quant.scale_count());
    staging.scales.assign(count, 0.0f);
    staging.zeros.assign(packed.quant.has_zeros ? count : 0, 0.0f);
    const QuantRows& matrix = read_quantised(source, packed.format, nonfinite_scales, staging.read);
    if (packed.order) {
      const std::vector<std::int32_t> order = column_order(packed.quant, matrix);
      pack_quant(packed.quant, matrix, order.data(), staging.codes.data(), staging.scales.data(), staging.zeros.data());
      const std::size_t bytes = order.size() * sizeof(std::int32_t);
      upload(device, packed.order.data() + expert * bytes, order.data(), bytes);
    } else {
      pack_quant(packed.quant, matrix, nullptr, staging.codes.data(), staging.scales.data(), staging.zeros.data());
    }
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
                                 ExpertPart part, ExpertPart bias, const WeightFormat& format, bool nonfinite_scales,
                                 bool row_major) {
  PackedProjection packed;
  packed.row_major = row_major;
  packed.format = format;
  if (experts.empty() || !(experts.front().*part)) return packed;
  packed.rows = (experts.front().*part).rows;
  packed.cols = (experts.front().*part).cols;
  // Also checks that rows * cols can be counted.
  packed.expert_bytes = packed_bytes(packed.rows, packed.cols, format.plain() ? format.element() : DType::kFloat32);
  packed.packed_cols = packed.cols;
  if (!format.plain()) {
    WeightFormat held = format;
    const std::int64_t width = widest_group(experts, part, format);
    if (width != 0) {
      held.group = width;
      packed.packed_cols = checked_mul(format.groups(packed.cols), width, "packed matrix");
      if (packed.packed_cols > kMaxSize)
        throw UnsupportedError("[pack] groups of up to " + std::to_string(width) +
                               " columns (act-order) make rows of " + std::to_string(packed.packed_cols) +
                               ", at most " + std::to_string(kMaxSize));
      const std::size_t order_bytes = static_cast<std::size_t>(padded(packed.packed_cols)) * sizeof(std::int32_t);
      packed.order = DeviceMemory(device, of_experts(experts.size(), order_bytes), "the order of columns");
      packed_bytes(packed.rows, packed.packed_cols, DType::kFloat32);  // counts them
    }
    packed.quant = QuantLayout(held, packed.rows, packed.packed_cols);
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

bool same_order(const DeviceContext& device, const PackedProjection& a, const PackedProjection& b) {
  if (a.order.bytes() != b.order.bytes()) return false;
  std::vector<std::byte> first(a.order.bytes()), second(b.order.bytes());
  download(device, first.data(), a.order.data(), first.size());
  download(device, second.data(), b.order.data(), second.size());
  return first == second;
}

void unpack_matrix(const DeviceContext& device, const PackedProjection& packed, std::int64_t expert,
                   const MutableMatrixView& out) {
  if (out.data == nullptr) return;
  const auto e = static_cast<std::size_t>(expert);
  std::vector<std::byte> codes(packed.expert_bytes);
  download(device, codes.data(), packed.matrices.data() + e * packed.expert_bytes, codes.size());
  if (packed.format.plain()) return unpack_plain(codes.data(), packed.format.element(), packed.row_major, out);
  const auto count = static_cast<std::size_t>(packed.quant.scale_count());
  const auto width = static_cast<std::size_t>(padded(packed.packed_cols));
  std::vector<float> scales(count), zeros(packed.quant.has_zeros ? count : 0), row(width);
  std::vector<std::int32_t> order(width);
  std::iota(order.begin(), order.end(), 0);
  const auto fetch = [&](auto& values, const DeviceMemory& memory) {
    const std::size_t bytes = values.size() * sizeof values[0];
    if (memory) download(device, values.data(), memory.data() + e * bytes, bytes);
  };
  fetch(scales, packed.scales);
  fetch(zeros, packed.zeros);
  fetch(order, packed.order);
  for (std::int64_t r = 0; r < packed.rows; ++r) {
    unpack_quant_row(packed.quant, codes.data(), scales.data(), zeros.data(), r, row.data());
    for (std::size_t c = 0; c < static_cast<std::size_t>(packed.packed_cols); ++c)
      if (order[c] >= 0) store_float(out.data, out.dtype, r * out.row_stride + order[c], row[c]);
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
  if (bytes == 0) return;
  const ContextScope current(device);
  device.check(device.driver.copy_to_host(to, device_pointer(from), bytes, nullptr), "cuMemcpyDtoHAsync",
               std::to_string(bytes) + " bytes");
  device.check(device.driver.stream_synchronize(nullptr), "cuStreamSynchronize");
}

}  // namespace moekit::cuda
