// SPDX-License-Identifier: Apache-2.0
// A block's weights in the layout of layout.h.
#pragma once

#include <cstdint>
#include <memory>
#include <vector>

#include "backend/backend.h"
#include "backends/cpu/isa.h"
#include "backends/cpu/kernels.h"
#include "backends/cpu/layout.h"
#include "core/aligned_buffer.h"
#include "routing/routing.h"

namespace moekit::cpu {

/// A [rows, cols] matrix as panels of 32 rows, for float32 or bfloat16 kernels.
struct PackedMatrix {
  AlignedBuffer storage;
  DType weight = DType::kFloat32;
  std::int64_t rows = 0, cols = 0, panels = 0, steps = 0;
  explicit operator bool() const noexcept { return panels != 0; }
};
PackedMatrix pack_matrix(const MatrixRef& matrix, DType weight);

/// Where one expert's panels and biases lie. Shapes are those of the group.
struct PackedExpert {
  const std::byte* up = nullptr;    // null for kLinear
  const std::byte* down = nullptr;
  const float* up_bias = nullptr;   // in panel order
  const float* down_bias = nullptr;
};

/// Experts of one shape: the routed ones, or the shared ones.
struct ExpertGroup {
  std::vector<PackedExpert> experts;
  ExpertConfig config;
  ActivationParams activation;
  std::int64_t up_panels = 0, up_steps = 0;      // 0 for kLinear
  std::int64_t down_panels = 0, down_steps = 0;
  AlignedBuffer storage, biases;
};
ExpertGroup pack_group(const ExpertConfig& config, const std::vector<ExpertTensors>& tensors, DType weight);
/// The inverse of pack_group for one expert.
void unpack_expert(const ExpertGroup& group, std::int64_t expert, const ExpertViews& out);

class CpuBlock final : public PackedBlock {
 public:
  CpuBlock(const BlockConfig& config, const BlockTensors& tensors, const BlockFormats& formats);
  std::size_t bytes() const noexcept override;
  std::string explain() const override;
  void unpack(std::int64_t expert, bool shared, const ExpertViews& out) const override;

  DType weight() const noexcept { return formats().routed.down.element(); }
  const WeightKernels& kernels() const noexcept { return chosen.of(weight()); }

  ChosenKernels chosen;
  ExpertGroup routed, shared;
  PackedMatrix shared_gate;              // [1, hidden] float32
  PackedMatrix router_f32, router_bf16;  // the second only where the weights are bfloat16 exactly
  RouterTables tables;
  std::vector<float> softmax_bias;  // the router's, padded to whole panels; only where plain_softmax()
  PackedMatrix small_dense;  // of small_dense.h, where the block is run that way
  std::vector<float> small_dense_bias;
  /// Whether routing is a softmax in float32 over all experts and nothing else.
  bool plain_softmax(DType x) const noexcept;
};

}  // namespace moekit::cpu
