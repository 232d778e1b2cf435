// SPDX-License-Identifier: Apache-2.0
#include "core/float_convert.h"
#include "formats/packings/packing.h"
#include "moekit/error.h"

namespace moekit {
namespace {

// E8M0 is published as uint8 too.
DType scale_dtype(const QuantTensors& tensors) {
  const bool exponents = tensors.format.scale == DType::kFloat8E8M0 && tensors.scales.dtype == DType::kUInt8;
  return exponents ? DType::kFloat8E8M0 : tensors.scales.dtype;
}

}  // namespace

const std::byte* read_all(const TensorRef& tensor, ByteScratch& scratch) {
  const std::int64_t bytes =
      checked_mul(tensor.elements(), static_cast<std::int64_t>(dtype_size(tensor.dtype)), tensor.name);
  return tensor.storage->read(tensor.offset, static_cast<std::size_t>(bytes), scratch);
}

const std::byte* read_one(const QuantTensors& tensors, const TensorRef& tensor, std::int64_t index,
                          ByteScratch& scratch) {
  const auto bytes = static_cast<std::size_t>(tensor.elements() / tensors.count) * dtype_size(tensor.dtype);
  return tensor.storage->read(tensor.offset + static_cast<std::size_t>(index) * bytes, bytes, scratch);
}

void read_scales(const QuantTensors& tensors, const StackRows& rows, ReadScratch& scratch, QuantRows& out) {
  const DType dtype = scale_dtype(tensors);
  const auto size = static_cast<std::int64_t>(dtype_size(dtype));
  const std::int64_t groups = out.groups(), share = tensors.format.scale_rows;
  const std::int64_t grid_rows = (tensors.rows + share - 1) / share;
  const std::int64_t first = rows.index * grid_rows + rows.first / share,
                     last = rows.last() / share - rows.first / share;
  const std::byte* data =
      tensors.scales.storage->read(tensors.scales.offset + static_cast<std::size_t>(first * groups * size),
                                   static_cast<std::size_t>((last + 1) * groups * size), scratch.scale_bytes);
  for (std::int64_t i = 0; i < rows.count; ++i) {
    const std::int64_t grid_row = (rows.first + i * rows.step) / share - rows.first / share;
    load_as_float(data, dtype, grid_row * groups, 1, groups, out.scales.data() + i * groups);
  }
}

void read_transposed_scales(const QuantTensors& tensors, const StackRows& rows, ReadScratch& scratch, QuantRows& out) {
  const std::int64_t groups = out.groups();
  const std::byte* data = read_one(tensors, tensors.scales, rows.index, scratch.scale_bytes);
  for (std::int64_t i = 0; i < rows.count; ++i)
    load_as_float(data, tensors.scales.dtype, rows.first + i * rows.step, tensors.rows, groups,
                  out.scales.data() + i * groups);
}

void read_row_scale(const QuantTensors& tensors, const StackRows& rows, ReadScratch& scratch, QuantRows& out) {
  if (tensors.format.row_scale == RowScale::kNone) return;
  const std::byte* data = read_all(tensors.row_scales, scratch.scale_bytes);
  const std::int64_t at = tensors.row_scales.elements() == 1 ? 0 : rows.index;
  out.row_scales.assign(static_cast<std::size_t>(rows.count), load_as_float(data, tensors.row_scales.dtype, at));
}

void read_column_groups(const QuantTensors& tensors, ReadScratch&, QuantRows& out) {
  if (!tensors.column_groups) return;
  const std::vector<std::int64_t> groups = read_int64(tensors.column_groups);
  bool in_order = true;
  for (std::int64_t k = 0; k < out.cols; ++k) {
    const std::int64_t g = groups[static_cast<std::size_t>(k)];
    if (g < 0 || g >= out.groups())
      throw CheckpointError("[g_idx] " + tensors.column_groups.name + ": column " + std::to_string(k) +
                            " is of group " + std::to_string(g) + ", expected 0 .. " +
                            std::to_string(out.groups() - 1));
    in_order = in_order && g == (out.format.group == 0 ? 0 : k / out.format.group);
  }
  if (!in_order) out.column_groups.assign(groups.begin(), groups.end());
}

}  // namespace moekit
