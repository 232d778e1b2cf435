// SPDX-License-Identifier: Apache-2.0
// The CUDA backend behind the device abstraction.
#include <limits>

#include "backends/cuda/call.h"
#include "backends/cuda/supports.h"

namespace moekit {
namespace cuda {
namespace {

Scratch& scratch_of(Workspace& workspace) { return static_cast<Scratch&>(workspace); }

// A routing without memory is kept in the workspace.
RoutingView with_memory(RoutingView routing, const Arrays& arrays) {
  if (routing.expert_ids == nullptr) routing.expert_ids = arrays.ids;
  if (routing.weights == nullptr) routing.weights = arrays.weights;
  return routing;
}

void check_inputs(const DeviceContext& device, const RouteInputs& inputs) {
  if (inputs.token_ids != nullptr) check_device_memory(device, inputs.token_ids, "token_ids");
  if (inputs.expert_ids != nullptr) check_device_memory(device, inputs.expert_ids, "expert_ids");
  if (inputs.weights != nullptr) check_device_memory(device, inputs.weights, "weights");
}

void check_routing(const DeviceContext& device, const RoutingView& routing) {
  if (routing.expert_ids != nullptr) check_device_memory(device, routing.expert_ids, "routing.expert_ids");
  if (routing.weights != nullptr) check_device_memory(device, routing.weights, "routing.weights");
}

class CudaBackend final : public Backend {
 public:
  std::string_view name() const noexcept override { return "cuda"; }
  DeviceKind device() const noexcept override { return DeviceKind::kCuda; }
  Support available() const override {
    const std::string reason = unusable_reason();
    return {reason.empty() ? "" : "not available: " + reason};
  }
  bool takes_float16() const noexcept override { return true; }
  Support supports(const BlockConfig& config, const BlockFormats& formats) const override {
    return supports_block(config, formats);
  }

  Buffer allocate(std::size_t bytes, const Device& device) const override {
    auto memory = std::make_shared<DeviceMemory>(DeviceContext::of(device.index), bytes, "a buffer");
    void* const data = memory->data();
    return Buffer(data, bytes, [memory](void*) mutable { memory.reset(); });
  }

  void copy(void* target, const void* source, std::size_t bytes, CopyKind kind, Stream* stream) const override {
    if (bytes == 0) return;
    const void* const on_device = kind == CopyKind::kDeviceToHost ? source : target;
    int ordinal = 0;
    const DeviceContext& first = DeviceContext::of(0);
    {
      const ContextScope current(first);
      first.check(first.driver.pointer_attribute(&ordinal, kPointerDeviceOrdinal, device_pointer(on_device)),
                  "cuPointerGetAttribute", "a copy of memory that is not a device's");
    }
    const DeviceContext& where = DeviceContext::of(ordinal);
    const CallScope call(where, stream);
    const DriverApi& driver = where.driver;
    if (kind == CopyKind::kHostToDevice)
      where.check(driver.copy_to_device(device_pointer(target), source, bytes, call.stream()), "cuMemcpyHtoDAsync");
    else if (kind == CopyKind::kDeviceToHost)
      where.check(driver.copy_to_host(target, device_pointer(source), bytes, call.stream()), "cuMemcpyDtoHAsync");
    else
      where.check(driver.copy_on_device(device_pointer(target), device_pointer(source), bytes, call.stream()),
                  "cuMemcpyDtoDAsync");
    call.finish();
  }

  std::unique_ptr<Stream> new_stream(const Device& device) const override {
    return std::make_unique<OwnStream>(DeviceContext::of(device.index));
  }

  std::unique_ptr<PackedBlock> pack(const BlockConfig& config, const BlockTensors& tensors, const BlockFormats& formats,
                                    const Device& device) const override {
    return std::make_unique<Packed>(config, tensors, formats, DeviceContext::of(device.index));
  }

  std::size_t workspace_bytes(const PackedBlock& block, std::int64_t max_tokens) const override {
    return lay_out(packed_of(block), max_tokens, nullptr, nullptr);
  }
  std::unique_ptr<Workspace> new_workspace(const PackedBlock& block) const override {
    return std::make_unique<Scratch>(packed_of(block));
  }
  bool keeps_routing() const noexcept override { return true; }

  void route(const PackedBlock& block, const MatrixView& x, const RouteInputs& inputs, const RoutingView& routing,
             Workspace& workspace, Stream* stream) const override {
    run(block, x, workspace, stream, [&](const Call& call) {
      check_inputs(call.block.device, inputs);
      check_routing(call.block.device, routing);
      cuda::route(call, x, inputs, with_memory(routing, call.arrays));
      report_bad_input(call, block.config().router);
    });
  }

  void experts(const PackedBlock& block, const MatrixView& x, const RoutingView& routing, const MutableMatrixView& y,
               Workspace& workspace, Stream* stream) const override {
    run(block, x, workspace, stream, [&](const Call& call) {
      check_device_memory(call.block.device, y.data, "y");
      check_routing(call.block.device, routing);
      run_experts(call, x, with_memory(routing, call.arrays), y);
    });
  }

  void forward(const PackedBlock& block, const MatrixView& x, const RouteInputs& inputs, const RoutingView& routing,
               const MutableMatrixView& y, Workspace& workspace, Stream* stream) const override {
    run(block, x, workspace, stream, [&](const Call& call) {
      check_device_memory(call.block.device, y.data, "y");
      check_inputs(call.block.device, inputs);
      check_routing(call.block.device, routing);
      const RoutingView kept = with_memory(routing, call.arrays);
      cuda::route(call, x, inputs, kept);
      run_experts(call, x, kept, y);
      report_bad_input(call, block.config().router);
    });
  }

  void grouped_mlp(const PackedBlock& block, const MatrixView& rows, const std::int64_t* offsets,
                   const MutableMatrixView& out, Workspace& workspace, Stream* stream) const override {
    if (rows.rows == 0) return;
    run(block, rows, workspace, stream, [&](const Call& call) {
      check_device_memory(call.block.device, out.data, "out");
      run_grouped(call, rows, offsets, out);
    });
  }

 private:
  // The frame of every call: the context, the workspace, the wait. A failed launch leaves the workspace usable.
  template <class Body>
  static void run(const PackedBlock& block, const MatrixView& x, Workspace& workspace, Stream* stream, Body body) {
    const Packed& packed = packed_of(block);
    const CallScope scope(packed.device, stream);
    check_device_memory(packed.device, x.data, "x");
    Scratch& scratch = scratch_of(workspace);
    const Arrays arrays = scratch.begin(scope, x.rows);
    try {
      body(Call{packed, scope, arrays, scratch});
      scratch.end(scope);
    } catch (...) {
      scratch.abandon(scope);
      throw;
    }
    scope.finish();
  }
};

}  // namespace
}  // namespace cuda

const Backend& cuda_backend() {
  static const cuda::CudaBackend backend;
  return backend;
}

}  // namespace moekit
