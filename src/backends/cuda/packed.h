// SPDX-License-Identifier: Apache-2.0
// A block's weights in device memory.
#pragma once

#include <mutex>
#include <string>
#include <vector>

#include "backend/backend.h"
#include "backends/cuda/projection.h"
#include "routing/routing.h"

namespace moekit::cuda {

/// Routed or shared experts.
struct PackedExperts {
  ExpertConfig config;
  int count = 0;
  PackedProjection gate, up, down;
  bool blas = false;   // products by cuBLAS, matrices row by row
  bool split = false;  // gate and up want the columns of x in different orders: two products
  bool linear() const noexcept { return config.act == Activation::kLinear; }
  /// What the first product reads.
  const PackedProjection& first() const noexcept { return linear() ? down : up; }
};

struct PackedRouter {
  DeviceMemory weight;  // [padded columns, padded hidden] float32
  DeviceMemory bias, selection_bias, per_expert_scale, in_scale, tid2eid;
  std::int64_t vocabulary = 0;
};

class Packed final : public PackedBlock {
 public:
  Packed(const BlockConfig& config, const BlockTensors& tensors, const BlockFormats& formats,
         const DeviceContext& where);
  std::size_t bytes() const noexcept override;
  std::string explain() const override;
  void unpack(std::int64_t expert, bool of_shared, const ExpertViews& out) const override;

  /// Keeps workspaces whose addresses a captured graph has, as long as the block lives.
  void retain(DeviceMemory memory) const;

  const DeviceContext& device;
  const std::string blas_declined;  // why cuBLAS is not used though asked for
  const bool blas;
  PackedRouter router;
  PackedExperts routed, shared;
  DeviceMemory shared_gate;  // [hidden] float32, or empty

 private:
  mutable std::mutex mutex_;
  mutable std::vector<DeviceMemory> retained_;
};

inline const Packed& packed_of(const PackedBlock& block) { return static_cast<const Packed&>(block); }

}  // namespace moekit::cuda
