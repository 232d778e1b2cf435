// SPDX-License-Identifier: Apache-2.0
// A packed block as tensors again: each matrix is unpacked when it is read, so that one at a time is held.
#include <utility>

#include "layer/packed_layer.h"

namespace moekit {
namespace {

using View = MutableMatrixView ExpertViews::*;

/// One matrix of one expert of a packed block.
class UnpackedMatrix final : public Storage {
 public:
  UnpackedMatrix(std::shared_ptr<const PackedBlock> block, std::int64_t expert, bool shared, View view,
                 MutableMatrixView shape)
      : block_(std::move(block)), expert_(expert), shared_(shared), view_(view), shape_(shape) {}

  const std::byte* read(std::size_t offset, std::size_t, ByteScratch& scratch) const override {
    scratch.resize(static_cast<std::size_t>(shape_.rows * shape_.cols) * dtype_size(shape_.dtype));
    ExpertViews views;
    views.*view_ = shape_;
    (views.*view_).data = scratch.data();
    block_->unpack(expert_, shared_, views);
    return scratch.data() + offset;
  }

 private:
  std::shared_ptr<const PackedBlock> block_;
  std::int64_t expert_;
  bool shared_;
  View view_;
  MutableMatrixView shape_;
};

struct Unpacker {
  std::shared_ptr<const PackedBlock> block;
  bool shared;

  MatrixRef matrix(std::int64_t expert, const char* name, View view, DType dtype, std::int64_t rows,
                   std::int64_t cols) const {
    TensorRef tensor;
    tensor.name = (shared ? "shared." : "experts.") + std::to_string(expert) + "." + name;
    tensor.dtype = dtype;
    tensor.shape = {rows, cols};
    tensor.storage = std::make_shared<UnpackedMatrix>(block, expert, shared, view,
                                                      MutableMatrixView{nullptr, dtype, rows, cols, cols});
    return matrix_of(tensor);
  }
  ExpertTensors expert(std::int64_t e, const ExpertConfig& c, const ExpertFormats& formats) const {
    const auto dtype = [](const WeightFormat& format) { return format.plain() ? format.element() : DType::kFloat32; };
    const bool linear = c.act == Activation::kLinear, gated = is_gated(c.act);
    ExpertTensors t;
    if (gated) t.gate = matrix(e, "gate", &ExpertViews::gate, dtype(formats.gate), c.intermediate, c.input);
    if (!linear) t.up = matrix(e, "up", &ExpertViews::up, dtype(formats.up), c.intermediate, c.input);
    t.down = matrix(e, "down", &ExpertViews::down, dtype(formats.down), c.output, linear ? c.input : c.intermediate);
    if (c.up_bias && gated)
      t.gate_bias = matrix(e, "gate_bias", &ExpertViews::gate_bias, DType::kFloat32, 1, c.intermediate);
    if (c.up_bias) t.up_bias = matrix(e, "up_bias", &ExpertViews::up_bias, DType::kFloat32, 1, c.intermediate);
    if (c.down_bias) t.down_bias = matrix(e, "down_bias", &ExpertViews::down_bias, DType::kFloat32, 1, c.output);
    return t;
  }
};

}  // namespace

BlockTensors unpacked_tensors(const PackedLayer& layer) {
  const std::shared_ptr<const PackedBlock> block =
      layout_backend(layer).import_block(layer.config, layer.dense, layer.formats, packed_parts(layer, true), Device{});
  BlockTensors tensors = layer.dense;
  for (std::int64_t e = 0; e < layer.config.router.num_experts; ++e)
    tensors.experts.push_back(Unpacker{block, false}.expert(e, layer.config.expert, layer.formats.routed));
  for (std::int64_t e = 0; e < layer.config.shared.count; ++e)
    tensors.shared.push_back(Unpacker{block, true}.expert(e, layer.config.shared.expert, layer.formats.shared));
  return tensors;
}

}  // namespace moekit
