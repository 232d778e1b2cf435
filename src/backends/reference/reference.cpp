// SPDX-License-Identifier: Apache-2.0
#include "backends/reference/reference.h"

#include <cstring>

#include "core/aligned_buffer.h"
#include "core/float_convert.h"
#include "formats/int8_activations.h"

namespace moekit {
namespace reference {
namespace {

const Packed& of(const PackedBlock& block) { return static_cast<const Packed&>(block); }
Scratch& of(Workspace& workspace) { return static_cast<Scratch&>(workspace); }

class ReferenceBackend final : public Backend {
 public:
  std::string_view name() const noexcept override { return "reference"; }
  DeviceKind device() const noexcept override { return DeviceKind::kCpu; }
  Support available() const override { return {}; }
  bool takes_float16() const noexcept override { return true; }
  Support supports(const BlockConfig&, const BlockFormats& formats) const override {
    return {formats.int8_activations ? int8_activations_reason(formats) : ""};
  }

  Buffer allocate(std::size_t bytes, const Device&) const override {
    auto memory = std::make_shared<AlignedBuffer>(bytes);
    void* data = memory->data();
    return Buffer(data, bytes, [memory](void*) mutable { memory.reset(); });
  }
  void copy(void* target, const void* source, std::size_t bytes, CopyKind, Stream*) const override {
    if (bytes != 0) std::memmove(target, source, bytes);
  }
  std::unique_ptr<Stream> new_stream(const Device&) const override { return std::make_unique<Stream>(); }

  std::unique_ptr<PackedBlock> pack(const BlockConfig& config, const BlockTensors& tensors, const BlockFormats& formats,
                                    const Device&) const override {
    return std::make_unique<Packed>(config, tensors, formats);
  }

  std::size_t workspace_bytes(const PackedBlock& block, std::int64_t max_tokens) const override {
    const BlockConfig& config = block.config();
    const std::int64_t row = config.expert.input + 2 * config.expert.intermediate + 2 * config.expert.output;
    const std::int64_t values = checked_mul(max_tokens, row + config.expert.input, "workspace");
    return static_cast<std::size_t>(checked_mul(values, sizeof(double), "workspace"));
  }
  std::unique_ptr<Workspace> new_workspace(const PackedBlock&) const override { return std::make_unique<Scratch>(); }

  void route(const PackedBlock& block, const MatrixView& x, const RouteInputs& inputs, const RoutingView& routing,
             Workspace& workspace, Stream*) const override {
    reference::route(of(block), x, inputs, routing, of(workspace));
  }
  void experts(const PackedBlock& block, const MatrixView& x, const RoutingView& routing, const MutableMatrixView& y,
               Workspace& workspace, Stream*) const override {
    reference::experts(of(block), x, routing, y, of(workspace));
  }

  void grouped_mlp(const PackedBlock& block, const MatrixView& rows, const std::int64_t* offsets,
                   const MutableMatrixView& out, Workspace&, Stream*) const override {
    const Packed& packed = of(block);
    Eigen::VectorXf row(rows.cols);
    for (std::size_t e = 0; e < packed.experts.size(); ++e) {
      const std::int64_t first = offsets[e], count = offsets[e + 1] - first;
      if (count == 0) continue;
      Rows input(count, rows.cols);
      for (std::int64_t i = 0; i < count; ++i) {
        load_row(rows, first + i, row.data());
        input.row(i) = row.cast<double>();
      }
      const Rows output = expert_mlp(packed.config().expert, packed.experts[e], input,
                                     rounds_inputs(packed.formats(), packed.formats().routed));
      for (std::int64_t i = 0; i < count; ++i)
        for (std::int64_t c = 0; c < out.cols; ++c)
          store_float(out.data, out.dtype, (first + i) * out.row_stride + c, static_cast<float>(output(i, c)));
    }
  }
};

}  // namespace
}  // namespace reference

const Backend& reference_backend() {
  static const reference::ReferenceBackend backend;
  return backend;
}

}  // namespace moekit
