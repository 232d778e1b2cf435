// SPDX-License-Identifier: Apache-2.0
#include "backends/cuda/packed.h"

#include <algorithm>
#include <cstring>
#include <iterator>

#include "backends/cuda/pack.h"
#include "core/float_convert.h"
#include "core/thread_pool.h"
#include "formats/read.h"

namespace moekit::cuda {
namespace {

using Part = MatrixRef ExpertTensors::*;

// Copies and waits: the source is used again at once. On the legacy default stream; another may be under capture.
void upload(const DeviceContext& device, void* to, const void* from, std::size_t bytes) {
  if (bytes == 0) return;
  const ContextScope current(device);
  device.check(device.driver.copy_to_device(device_pointer(to), from, bytes, nullptr), "cuMemcpyHtoDAsync",
               std::to_string(bytes) + " bytes");
  device.check(device.driver.stream_synchronize(nullptr), "cuStreamSynchronize");
}

void download(const DeviceContext& device, void* to, const void* from, std::size_t bytes) {
  const ContextScope current(device);
  device.check(device.driver.copy_to_host(to, device_pointer(from), bytes, nullptr), "cuMemcpyDtoHAsync",
               std::to_string(bytes) + " bytes");
  device.check(device.driver.stream_synchronize(nullptr), "cuStreamSynchronize");
}

template <class T>
DeviceMemory upload_vector(const DeviceContext& device, const std::vector<T>& values, const char* purpose) {
  DeviceMemory memory(device, values.size() * sizeof(T), purpose);
  upload(device, memory.data(), values.data(), memory.bytes());
  return memory;
}

DeviceMemory upload_bias(const DeviceContext& device, const std::vector<ExpertTensors>& experts, Part part,
                         std::int64_t rows) {
  if (experts.empty() || !(experts.front().*part)) return {};
  const auto width = static_cast<std::size_t>(rows);
  std::vector<float> values(experts.size() * width);
  ByteScratch scratch;
  for (std::size_t e = 0; e < experts.size(); ++e) {
    const MatrixView view = (experts[e].*part).read(scratch);
    load_as_float(view.data, view.dtype, 0, view.col_stride, rows, values.data() + e * width);
  }
  return upload_vector(device, values, "biases");
}

PackedProjection pack_projection(const DeviceContext& device, const std::vector<ExpertTensors>& experts, Part part,
                                 Part bias, const WeightFormat& format) {
  PackedProjection packed;
  packed.format = format;
  if (experts.empty() || !(experts.front().*part)) return packed;
  packed.rows = (experts.front().*part).rows;
  packed.cols = (experts.front().*part).cols;
  packed.expert_bytes = packed_bytes(packed.rows, packed.cols, format.element());
  const auto count = static_cast<std::int64_t>(experts.size());
  packed.matrices = DeviceMemory(
      device,
      static_cast<std::size_t>(checked_mul(count, static_cast<std::int64_t>(packed.expert_bytes), "packed experts")),
      "expert weights");
  parallel_for(num_threads(), count, 1, [&](std::int64_t first, std::int64_t last) {
    ReadScratch scratch;
    std::vector<std::byte> staging;
    for (std::int64_t e = first; e < last; ++e) {
      staging.assign(packed.expert_bytes, std::byte{0});
      pack_plain(read_plain(experts[static_cast<std::size_t>(e)].*part, scratch), format.element(), staging.data());
      upload(device, packed.matrices.data() + static_cast<std::size_t>(e) * packed.expert_bytes, staging.data(),
             staging.size());
    }
  });
  packed.bias = upload_bias(device, experts, bias, packed.rows);
  return packed;
}

PackedExperts pack_experts(const DeviceContext& device, const ExpertConfig& config,
                           const std::vector<ExpertTensors>& experts, const ExpertFormats& formats) {
  PackedExperts packed;
  packed.config = config;
  packed.count = static_cast<int>(experts.size());
  packed.gate = pack_projection(device, experts, &ExpertTensors::gate, &ExpertTensors::gate_bias, formats.gate);
  packed.up = pack_projection(device, experts, &ExpertTensors::up, &ExpertTensors::up_bias, formats.up);
  packed.down = pack_projection(device, experts, &ExpertTensors::down, &ExpertTensors::down_bias, formats.down);
  return packed;
}

PackedRouter pack_router(const DeviceContext& device, const RouterConfig& config, const RouterTensors& tensors) {
  PackedRouter packed;
  if (config.source == RouterSource::kExternal) return packed;
  const RouterTables tables = read_router_tables(config, tensors);
  const std::vector<float> weight = read_float32(tensors.weight);
  const std::int64_t columns = tensors.weight.shape[0], hidden = tensors.weight.shape[1];
  std::vector<std::byte> staging(packed_bytes(columns, hidden, DType::kFloat32));
  pack_plain({weight.data(), DType::kFloat32, columns, hidden, hidden, 1}, DType::kFloat32, staging.data());
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
  for (const PackedProjection* p : {&experts.gate, &experts.up, &experts.down})
    bytes += p->matrices.bytes() + p->bias.bytes();
  return bytes;
}

void unpack_matrix(const DeviceContext& device, const PackedProjection& packed, std::int64_t expert,
                   const MutableMatrixView& out) {
  if (out.data == nullptr) return;
  std::vector<std::byte> staging(packed.expert_bytes);
  download(device, staging.data(), packed.matrices.data() + static_cast<std::size_t>(expert) * packed.expert_bytes,
           staging.size());
  unpack_plain(staging.data(), packed.format.element(), out);
}

void unpack_bias(const DeviceContext& device, const PackedProjection& packed, std::int64_t expert,
                 const MutableMatrixView& out) {
  if (out.data == nullptr) return;
  const auto bytes = static_cast<std::size_t>(packed.rows) * sizeof(float);
  download(device, out.data, packed.bias.data() + static_cast<std::size_t>(expert) * bytes, bytes);
}

}  // namespace

Packed::Packed(const BlockConfig& config, const BlockTensors& tensors, const BlockFormats& formats,
               const DeviceContext& where)
    : PackedBlock(config, formats),
      device(where),
      router(pack_router(where, config.router, tensors.router)),
      routed(pack_experts(where, config.expert, tensors.experts, formats.routed)),
      shared(pack_experts(where, config.shared.expert, tensors.shared, formats.shared)) {
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
  const bool float32 = routed.first().input_element() == Element::kFloat32;
  return "cuda:" + std::to_string(device.ordinal) + ": router in float32, a warp a token; experts by " +
         (float32 ? "float32 multiply-adds" : "mma.sync m16n8k16, float32 sums") +
         ", tiles of 8 or 64 rows with the same bits\n";
}

void Packed::unpack(std::int64_t expert, bool of_shared, const ExpertViews& out) const {
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
