// SPDX-License-Identifier: Apache-2.0
// Huawei's NPUs behind the backend interface, through CANN's operators.
#include "backend/backend.h"
#include "backends/ascend/forward.h"
#include "backends/ascend/packed.h"
#include "backends/ascend/workspace.h"
#include "moekit/error.h"

namespace moekit {
namespace ascend {
namespace {

const AscendBlock& of(const PackedBlock& block) { return static_cast<const AscendBlock&>(block); }
AscendWorkspace& of(Workspace& workspace) { return static_cast<AscendWorkspace&>(workspace); }

void require_device() {
  if (!api().reason.empty()) throw DeviceError("[ascend] " + api().reason);
}

class AscendBackend final : public Backend {
 public:
  std::string_view name() const noexcept override { return "ascend"; }
  DeviceKind device() const noexcept override { return DeviceKind::kAscend; }
  Support available() const override { return {api().reason}; }
  bool takes_float16() const noexcept override { return true; }
  Support supports(const BlockConfig& config, const BlockFormats& formats) const override {
    return {why_not(config, formats)};
  }

  Buffer allocate(std::size_t bytes, const Device& device) const override {
    require_device();
    return ascend::allocate(bytes, device.index);
  }
  void copy(void* target, const void* source, std::size_t bytes, CopyKind kind, Stream* stream) const override {
    require_device();
    const AclCopy direction = kind == CopyKind::kHostToDevice   ? kAclHostToDevice
                              : kind == CopyKind::kDeviceToHost ? kAclDeviceToHost
                                                                : kAclDeviceToDevice;
    // Memory of others is on the device that the thread has chosen, or on the first.
    std::int32_t device = device_of(kind == CopyKind::kDeviceToHost ? source : target);
    if (device < 0 && api().rt.aclrtGetDevice(&device) != 0) device = 0;
    const DeviceScope scope(device);
    if (stream == nullptr) return copy_now(target, source, bytes, direction);
    if (bytes != 0)
      check(api().rt.aclrtMemcpyAsync(target, bytes, source, bytes, direction, stream->native()), "aclrtMemcpyAsync");
  }
  std::unique_ptr<Stream> new_stream(const Device& device) const override {
    require_device();
    return std::make_unique<AscendStream>(device.index);
  }

  std::unique_ptr<PackedBlock> pack(const BlockConfig& config, const BlockTensors& tensors, const BlockFormats& formats,
                                    const Device& device) const override {
    require_device();
    return std::make_unique<AscendBlock>(config, tensors, formats, device.index);
  }
  std::size_t workspace_bytes(const PackedBlock& block, std::int64_t max_tokens) const override {
    return count_call(of(block), max_tokens);
  }
  std::unique_ptr<Workspace> new_workspace(const PackedBlock& block) const override {
    return std::make_unique<AscendWorkspace>(of(block).device());
  }
  bool keeps_routing() const noexcept override { return true; }

  void route(const PackedBlock& block, const MatrixView& x, const RouteInputs& inputs, const RoutingView& routing,
             Workspace& workspace, Stream* stream) const override {
    run_call(of(block), x, inputs, routing, {}, of(workspace), stream, {true, false});
  }
  void experts(const PackedBlock& block, const MatrixView& x, const RoutingView& routing, const MutableMatrixView& y,
               Workspace& workspace, Stream* stream) const override {
    run_call(of(block), x, {}, routing, y, of(workspace), stream, {false, true});
  }
  void forward(const PackedBlock& block, const MatrixView& x, const RouteInputs& inputs, const RoutingView& routing,
               const MutableMatrixView& y, Workspace& workspace, Stream* stream) const override {
    run_call(of(block), x, inputs, routing, y, of(workspace), stream, {true, true});
  }
  void grouped_mlp(const PackedBlock& block, const MatrixView& rows, const std::int64_t* offsets,
                   const MutableMatrixView& out, Workspace& workspace, Stream* stream) const override {
    run_grouped(of(block), rows, offsets, out, of(workspace), stream);
  }
};

}  // namespace
}  // namespace ascend

const Backend& ascend_backend() {
  static const ascend::AscendBackend backend;
  return backend;
}

}  // namespace moekit
