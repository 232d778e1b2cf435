// SPDX-License-Identifier: Apache-2.0
#include "backends/cuda/packed.h"

#include "moekit/error.h"

#include <utility>

#include "backends/cuda/blas_products.h"
#include "backends/cuda/pack.h"
#include "core/float_convert.h"

namespace moekit::cuda {
namespace {

PackedExperts pack_experts(const DeviceContext& device, const ExpertConfig& config,
                           const std::vector<ExpertTensors>& experts, const ExpertFormats& formats,
                           bool nonfinite_scales, bool blas) {
  const auto pack = [&](ExpertPart part, ExpertPart bias, const WeightFormat& format) {
    return pack_projection(device, experts, part, bias, format, nonfinite_scales, blas);
  };
  PackedExperts packed;
  packed.blas = blas;
  packed.config = config;
  packed.count = static_cast<int>(experts.size());
  packed.gate = pack(&ExpertTensors::gate, &ExpertTensors::gate_bias, formats.gate);
  packed.up = pack(&ExpertTensors::up, &ExpertTensors::up_bias, formats.up);
  packed.down = pack(&ExpertTensors::down, &ExpertTensors::down_bias, formats.down);
  packed.split = packed.gate.present() && !same_order(device, packed.gate, packed.up);
  return packed;
}

PackedRouter pack_router(const DeviceContext& device, const RouterConfig& config, const RouterTensors& tensors) {
  PackedRouter packed;
  if (config.source == RouterSource::kExternal) return packed;
  const RouterTables tables = read_router_tables(config, tensors);
  const std::vector<float> weight = read_float32(tensors.weight);
  const std::int64_t columns = tensors.weight.shape[0], hidden = tensors.weight.shape[1];
  std::vector<std::byte> staging(packed_bytes(columns, hidden, DType::kFloat32));
  pack_plain({weight.data(), DType::kFloat32, columns, hidden, hidden, 1}, DType::kFloat32, true, staging.data());
  packed.weight = upload_vector(device, staging, "the router");
  packed.bias = upload_vector(device, tables.bias, "the router");
  packed.selection_bias = upload_vector(device, tables.selection_bias, "the router");
  packed.per_expert_scale = upload_vector(device, tables.per_expert_scale, "the router");
  packed.in_scale = upload_vector(device, tables.in_scale, "the router");
  packed.tid2eid = upload_vector(device, tables.tid2eid, "the router");
  packed.vocabulary = tables.vocabulary;
  return packed;
}

std::size_t bytes_of(const PackedExperts& experts) noexcept {
  std::size_t bytes = 0;
  for (const PackedProjection* p : {&experts.gate, &experts.up, &experts.down}) bytes += p->bytes();
  return bytes;
}

}  // namespace

Packed::Packed(const BlockConfig& config, const BlockTensors& tensors, const BlockFormats& formats,
               const DeviceContext& where)
    : PackedBlock(config, formats),
      device(where),
      blas_declined(blas_asked_for() ? why_no_blas(formats) : ""),
      blas(blas_asked_for() && blas_declined.empty()),
      router(pack_router(where, config.router, tensors.router)),
      routed(pack_experts(where, config.expert, tensors.experts, formats.routed, formats.nonfinite_scales, blas)),
      shared(
          pack_experts(where, config.shared.expert, tensors.shared, formats.shared, formats.nonfinite_scales, blas)) {
  if (!tensors.shared_gate) return;
  ByteScratch scratch;
  const MatrixView view = tensors.shared_gate.read(scratch);
  std::vector<float> gate(static_cast<std::size_t>(view.cols));
  load_as_float(view.data, view.dtype, 0, view.col_stride, view.cols, gate.data());
  shared_gate = upload_vector(where, gate, "the gate of shared experts");
}

std::size_t Packed::bytes() const noexcept {
  std::size_t bytes = bytes_of(routed) + bytes_of(shared) + shared_gate.bytes();
  for (const DeviceMemory* m : {&router.weight, &router.bias, &router.selection_bias, &router.per_expert_scale,
                                &router.in_scale, &router.tid2eid})
    bytes += m->bytes();
  return bytes;
}

std::string Packed::explain() const {
  const Element element = routed.first().input_element();
  std::string text = "cuda:" + std::to_string(device.ordinal) + ": router in float32, a warp a token; experts by ";
  if (blas) {
    text += "cuBLAS' grouped product, sizes through the host: no graphs, a row's bits may depend on its batch";
  } else if (element == Element::kFloat32) {
    text += "float32 multiply-adds";
  } else {
    text += "mma.sync m16n8k16 on " + std::string(element == Element::kBFloat16 ? "bfloat16" : "float16") +
            ", float32 sums";
  }
  if (!blas_declined.empty()) text += "; cuBLAS, asked for by MOEKIT_CUDA_GEMM, is not used: " + blas_declined;
  return text + "\n";
}

void Packed::unpack(std::int64_t expert, bool of_shared, const ExpertViews& out) const {
  for (const MutableMatrixView* part : {&out.gate, &out.up, &out.down})
    if (part->data != nullptr && part->dtype == DType::kUInt8)
      throw UnsupportedError("[unpack] cuda gives weights back dequantised, not as codes");
  const PackedExperts& source = of_shared ? shared : routed;
  unpack_matrix(device, source.gate, expert, out.gate);
  unpack_matrix(device, source.up, expert, out.up);
  unpack_matrix(device, source.down, expert, out.down);
  unpack_bias(device, source.gate, expert, out.gate_bias);
  unpack_bias(device, source.up, expert, out.up_bias);
  unpack_bias(device, source.down, expert, out.down_bias);
}

void Packed::retain(DeviceMemory memory) const {
  const std::lock_guard lock(mutex_);
  retained_.push_back(std::move(memory));
}

}  // namespace moekit::cuda
