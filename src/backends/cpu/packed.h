// SPDX-License-Identifier: Apache-2.0
// A block's weights in the layouts of layout.h and tile_format.h.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "backend/backend.h"
#include "backends/cpu/int_rows.h"
#include "backends/cpu/isa.h"
#include "backends/cpu/kernels.h"
#include "backends/cpu/layout.h"
#include "backends/cpu/panel_storage.h"
#include "backends/cpu/split_rows.h"
#include "backends/cpu/tile_format.h"
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
  const std::byte* up = nullptr;  // null for kLinear
  const std::byte* down = nullptr;
  const float* up_bias = nullptr;  // in panel order
  const float* down_bias = nullptr;
  const std::uint16_t* columns[3] = {nullptr, nullptr, nullptr};  // of gate, up, down: where a format goes by column
};

/// The panels of one projection of a group.
struct Projection {
  DType weight = DType::kFloat32;  // element of the plain steps that kernels read
  bool quantised = false;
  bool codes = false;  // which bfloat16 kernels multiply as they are (WeightKernels::codes)
  int digits = 0;  // rows of A are integers of so many digits, weight is int8; 0: A is what kernels of `weight` take
  bool bf16z = false;
  bool split = false;      // rows of A are of parts, and so panels become: split_rows.h
  TileFormat half[2];      // of the two tiles of a panel, where quantised
  Bf16zFormat compressed;  // of a panel, where bf16z
  std::int64_t panels = 0, steps = 0, panel_bytes = 0;
  std::int64_t bytes() const { return checked_mul(panels, panel_bytes, "projection"); }
  /// Whether A is in nibble order.
  bool nibble_order() const noexcept { return codes && code_bits(half[0].weight.code) == 4; }
};

/// Experts of one shape: the routed ones, or the shared ones.
struct ExpertGroup {
  std::vector<PackedExpert> experts;
  ExpertConfig config;
  ActivationParams activation;
  Projection up, down;                    // up: no panels for kLinear
  PanelStorage storage, biases, columns;  // storage is empty where an ExpertCache has the panels
  std::string plain_instead;              // why projections are plain that were to be bf16z, empty where none is
  std::size_t bytes() const noexcept { return storage.bytes() + biases.bytes() + columns.bytes(); }
};
struct StepElements;
ExpertGroup pack_group(const ExpertConfig& config, const std::vector<ExpertTensors>& tensors,
                       const ExpertFormats& formats, const StepElements& elements, bool nonfinite_scales);
/// The inverse of pack_group for one expert; quantised projections come back as float32.
void unpack_expert(const ExpertGroup& group, const PackedExpert& expert, const KernelTable& table,
                   const ExpertViews& out);

class ExpertCache;

class CpuBlock final : public PackedBlock {
 public:
  CpuBlock(const BlockConfig& config, const BlockTensors& tensors, const BlockFormats& formats);
  /// From what export_parts gave. Throws CheckpointError.
  CpuBlock(const BlockConfig& config, const BlockTensors& dense, const BlockFormats& formats, const PackedParts& parts);
  ~CpuBlock() override;
  PackedParts export_parts() const override;
  std::size_t bytes() const noexcept override;
  std::size_t resident_bytes() const noexcept override;
  CacheCounts cache_counts() const override;
  std::string explain() const override;
  void unpack(std::int64_t expert, bool shared, const ExpertViews& out) const override;

  /// Kernels of a projection whose A is of floats.
  const WeightKernels& kernels(const Projection& projection) const noexcept { return chosen.of(projection.weight); }
  auto up_kernel(const Projection& p) const noexcept {
    return p.digits != 0 ? chosen.integer.up : p.split ? chosen.table->split.up : kernels(p).up;
  }
  auto down_kernel(const Projection& p) const noexcept {
    return p.digits != 0 ? chosen.integer.down : p.split ? chosen.table->split.down : kernels(p).down;
  }
  /// Whether A of the down-projection is made of float32 rows in a step of its own.
  static bool remakes_hidden(const ExpertGroup& group) noexcept { return group.down.digits != 0 || group.down.split; }
  /// Dtype of the hidden activations that the up-projection of a group makes.
  DType hidden_dtype(const ExpertGroup& group) const noexcept {
    return group.down.digits != 0 ? DType::kFloat32 : kernels(group.down).activation;
  }
  /// Whether bfloat16 weights meet float32 rows, for many of which they are widened.
  bool widens(const Projection& p) const noexcept {
    return p.weight == DType::kBFloat16 && kernels(p).activation == DType::kFloat32;
  }
  /// Lines that a row of them takes.
  std::int64_t hidden_segments(const ExpertGroup& group) const noexcept {
    const Projection& down = group.down;
    return down.digits != 0 ? down.steps * 2 : down.steps * segments_per_step(down.weight, kernels(down).activation);
  }
  /// Bytes of a row of float32 beside A of parts.
  static std::int64_t float_row_bytes(const Projection& p) noexcept { return p.split ? p.steps * kLineBytes : 0; }
  /// Bytes of A that a row takes for a projection.
  std::int64_t row_bytes(const Projection& p) const noexcept {
    if (p.digits != 0) return IntRows(p.half[0], p.digits).bytes();
    if (p.split) return split_row_bytes(p.steps);
    return p.steps * segments_per_step(p.weight, kernels(p).activation) * kLineBytes;
  }

  ChosenKernels chosen;
  ExpertGroup routed, shared;
  std::unique_ptr<ExpertCache> cache;    // of the routed experts, under a memory budget
  PackedMatrix shared_gate;              // [1, hidden] float32
  PackedMatrix router_f32, router_bf16;  // the second only where the weights are bfloat16 exactly
  RouterTables tables;
  std::vector<float> softmax_bias;  // the router's, padded to whole panels; only where plain_softmax()
  PackedMatrix small_dense;         // of small_dense.h, where the block is run that way
  std::vector<float> small_dense_bias;
  /// Whether routing is a softmax in float32 over all experts and nothing else.
  bool plain_softmax(DType x) const noexcept;

 private:
  /// Router and gate of the shared experts, and what follows from them and the packed experts.
  void pack_dense(const BlockTensors& tensors);

  std::string bf16z_choice_;  // what decided on it where the block could choose
};

/// Whether there are kernels for the formats, or the reason.
Support supports_formats(const BlockFormats& formats);

}  // namespace moekit::cpu
