// SPDX-License-Identifier: Apache-2.0
// The CPU behind the backend interface.
#include <cstring>

#include "backend/backend.h"
#include "backends/cpu/float_state.h"
#include "backends/cpu/import_group.h"
#include "backends/cpu/packed.h"
#include "backends/cpu/route.h"
#include "backends/cpu/schedule.h"
#include "backends/cpu/small_dense.h"
#include "backends/cpu/workspace.h"
#include "core/aligned_buffer.h"

namespace moekit {
namespace cpu {
namespace {

const CpuBlock& block_of(const PackedBlock& block) { return static_cast<const CpuBlock&>(block); }
CpuWorkspace& workspace_of(Workspace& workspace) { return static_cast<CpuWorkspace&>(workspace); }

class CpuBackend final : public Backend {
 public:
  std::string_view name() const noexcept override { return "cpu"; }
  DeviceKind device() const noexcept override { return DeviceKind::kCpu; }
  Support available() const override { return {}; }
  bool reproduces() const noexcept override { return true; }

  Support supports(const BlockConfig&, const BlockFormats& formats) const override { return supports_formats(formats); }

  Buffer allocate(std::size_t bytes, const Device&) const override {
    auto memory = std::make_shared<AlignedBuffer>(bytes);
    return Buffer(memory->data(), bytes, [memory](void*) {});
  }
  void copy(void* target, const void* source, std::size_t bytes, CopyKind, Stream*) const override {
    std::memcpy(target, source, bytes);
  }
  std::unique_ptr<Stream> new_stream(const Device&) const override { return std::make_unique<Stream>(); }

  std::unique_ptr<PackedBlock> pack(const BlockConfig& config, const BlockTensors& tensors, const BlockFormats& formats,
                                    const Device&) const override {
    return std::make_unique<CpuBlock>(config, tensors, formats);
  }
  std::string_view layout() const noexcept override { return kPanelLayout; }
  std::unique_ptr<PackedBlock> import_block(const BlockConfig& config, const BlockTensors& dense,
                                            const BlockFormats& formats, const PackedParts& parts,
                                            const Device&) const override {
    return std::make_unique<CpuBlock>(config, dense, formats, parts);
  }
  std::size_t workspace_bytes(const PackedBlock& block, std::int64_t max_tokens) const override {
    return experts_workspace_bytes(block_of(block), max_tokens);
  }
  std::unique_ptr<Workspace> new_workspace(const PackedBlock&) const override {
    return std::make_unique<CpuWorkspace>();
  }

  void route(const PackedBlock& block, const MatrixView& x, const RouteInputs& inputs, const RoutingView& routing,
             Workspace& workspace, Stream*) const override {
    const FloatScope scope;
    cpu::route(block_of(block), x, inputs, routing, workspace_of(workspace));
  }
  void experts(const PackedBlock& block, const MatrixView& x, const RoutingView& routing, const MutableMatrixView& y,
               Workspace& workspace, Stream*) const override {
    const FloatScope scope;
    run_experts(block_of(block), x, routing, y, workspace_of(workspace));
  }
  void forward(const PackedBlock& packed, const MatrixView& x, const RouteInputs& inputs, const RoutingView& routing,
               const MutableMatrixView& y, Workspace& workspace, Stream* stream) const override {
    const CpuBlock& block = block_of(packed);
    if (block.small_dense) return run_small_dense(block, x, routing, y, workspace_of(workspace));
    Backend::forward(packed, x, inputs, routing, y, workspace, stream);
  }
  void grouped_mlp(const PackedBlock& block, const MatrixView& rows, const std::int64_t* offsets,
                   const MutableMatrixView& out, Workspace& workspace, Stream*) const override {
    run_grouped(block_of(block), rows, offsets, out, workspace_of(workspace));
  }
};

}  // namespace
}  // namespace cpu

const Backend& cpu_backend() {
  static const cpu::CpuBackend backend;
  return backend;
}

}  // namespace moekit
