// SPDX-License-Identifier: Apache-2.0
// One projection of all experts of a kind, in device memory.
#pragma once

#include <vector>

#include "backends/cuda/context.h"
#include "backends/cuda/host_params.h"
#include "backends/cuda/pack_quant.h"
#include "moekit/layer.h"

namespace moekit::cuda {

struct PackedProjection {
  WeightFormat format;
  std::int64_t rows = 0, cols = 0;
  std::size_t expert_bytes = 0;
  bool row_major = false;      // plain matrices as cuBLAS takes them
  DeviceMemory matrices;       // packed matrices (pack.h, pack_quant.h) one behind the other
  DeviceMemory bias;           // [experts, rows] float32, or empty
  QuantLayout quant;           // of quantised formats
  DeviceMemory scales, zeros;  // [experts, quant.scale_count()] float32, or empty
  // Act-order: columns are packed group by group, each group as wide as the widest.
  DeviceMemory
      order;  // [experts, padded packed_cols] int32: the column of x that a column multiplies, -1: none; or empty
  std::int64_t packed_cols = 0;

  bool present() const noexcept { return rows != 0; }
  std::size_t bytes() const noexcept {
    return matrices.bytes() + bias.bytes() + scales.bytes() + zeros.bytes() + order.bytes();
  }
  /// What the product reads.
  Element input_element() const noexcept { return format.plain() ? element_of(format.element()) : Element::kBFloat16; }
};

using ExpertPart = MatrixRef ExpertTensors::*;

/// Packs one matrix (and bias) of every expert, experts in parallel, one host copy a thread. Throws DeviceError,
/// CheckpointError.
PackedProjection pack_projection(const DeviceContext& device, const std::vector<ExpertTensors>& experts,
                                 ExpertPart part, ExpertPart bias, const WeightFormat& format, bool nonfinite_scales,
                                 bool row_major);
/// Whether two projections take the columns of x in the same order.
bool same_order(const DeviceContext& device, const PackedProjection& a, const PackedProjection& b);
/// An expert's matrix as it was packed; quantised ones dequantised. Null data: not asked for.
void unpack_matrix(const DeviceContext& device, const PackedProjection& packed, std::int64_t expert,
                   const MutableMatrixView& out);
void unpack_bias(const DeviceContext& device, const PackedProjection& packed, std::int64_t expert,
                 const MutableMatrixView& out);

/// Copies that are over when the call returns.
void upload(const DeviceContext& device, void* to, const void* from, std::size_t bytes);
void download(const DeviceContext& device, void* to, const void* from, std::size_t bytes);
template <class T>
DeviceMemory upload_vector(const DeviceContext& device, const std::vector<T>& values, const char* purpose) {
  DeviceMemory memory(device, values.size() * sizeof(T), purpose);
  upload(device, memory.data(), values.data(), memory.bytes());
  return memory;
}

}  // namespace moekit::cuda
