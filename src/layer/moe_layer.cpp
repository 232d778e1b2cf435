// SPDX-License-Identifier: Apache-2.0
#include <cstdio>
#include <stdexcept>
#include <string>
#include <utility>

#include "core/environment.h"
#include "formats/format.h"
#include "layer/choose_formats.h"
#include "layer/forward_checks.h"
#include "layer/memory_budget.h"
#include "layer/packed_layer.h"
#include "layer/rows.h"
#include "layer/slot_pool.h"
#include "moekit/error.h"
#include "moekit/layer.h"
#include "routing/routing.h"

namespace moekit {

struct MoeLayer::Impl {
  Impl(const BlockConfig& block_config, const BlockFormats& block_formats, const LayerOptions& options)
      : config(block_config),
        formats(block_formats),
        device(options.device),
        backend(choose_backend(config, formats, options, &declined)) {}

  BlockConfig config;
  BlockFormats formats;
  std::string format_names;
  Device device;
  std::string declined, source;  // source: of layers from files
  std::vector<std::string> notes;
  const Backend& backend;
  RouterTables limits;  // of the tables only the vocabulary: what checking a call's inputs needs
  std::unique_ptr<PackedBlock> packed;
  MemoryNeeds needs;
  std::unique_ptr<SlotPool> pool;
};

MoeLayer::MoeLayer(const BlockConfig& config, const BlockTensors& tensors, const LayerOptions& options) {
  validate(config);
  validate(config, tensors);
  if (options.memory_budget != 0)
    throw UnsupportedError("[load] memory_budget is " + std::to_string(options.memory_budget) +
                           " bytes, which only a converted layer on its own backend can keep to: convert the "
                           "checkpoint first (moekit convert)");
  impl_ = std::make_unique<Impl>(config, choose_formats(config, tensors, options), options);
  impl_->notes = tensors.notes;
  if (config.router.source == RouterSource::kHashTable) impl_->limits.vocabulary = tensors.router.tid2eid.shape[0];
  impl_->packed = impl_->backend.pack(config, tensors, impl_->formats, options.device);
  if (!impl_->backend.layout().empty()) impl_->needs = moekit::memory_needs(impl_->packed->export_parts());
  finish();
}

MoeLayer::MoeLayer(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) { finish(); }

MoeLayer MoeLayer::from_file(const std::string& path, const LayerOptions& options) {
  const PackedLayer layer = open_packed_layer(path);
  const std::string held = names(layer.formats);
  const bool bfloat16 = all_plain(layer.formats, DType::kBFloat16);
  // Of "bf16z" packing may have left projections plain.
  const bool as_asked = options.dtype == "auto" || options.dtype == held ||
                        (options.dtype == "bf16z" && bfloat16 && !compressed_reason(layer.formats).empty());
  // They are two ways to hold the same weights, and go from one to the other.
  const bool repacks = !as_asked && bfloat16 && (options.dtype == "bfloat16" || options.dtype == "bf16z");
  if (!as_asked && !repacks)
    throw CheckpointError("[load] " + path + ": converted to " + held + ", dtype '" + options.dtype +
                          "' asked; convert the checkpoint again with that dtype");
  if (repacks || (options.backend != "auto" && backend_by_name(options.backend).layout() != layer.layout))
    return MoeLayer(layer.config, unpacked_tensors(layer), [&] {
      LayerOptions unpacked = options;
      if (!repacks) unpacked.dtype = "auto";
      return unpacked;
    }());
  BlockFormats formats = layer.formats;
  formats.int8_activations = options.int8_activations;
  formats.reproducible = options.reproducible;
  formats.bf16_split = options.bf16_split;
  auto impl = std::make_unique<Impl>(layer.config, formats, options);
  impl->limits.vocabulary = layer.dense.router.tid2eid ? layer.dense.router.tid2eid.shape[0] : 0;
  impl->notes = layer.dense.notes;
  const bool map = options.map_files && environment("MOEKIT_MAP_FILES") != "0";
  const bool budgeted = options.memory_budget != 0 && moekit::memory_needs(layer).all > options.memory_budget;
  impl->source = path + (budgeted ? ", experts read when they are needed" : map ? ", mapped" : ", read into memory");
  const PackedParts parts = budgeted ? budgeted_parts(layer, options.memory_budget) : packed_parts(layer, map);
  impl->packed = impl->backend.import_block(layer.config, layer.dense, formats, parts, options.device);
  impl->needs = moekit::memory_needs(layer);
  return MoeLayer(std::move(impl));
}

void MoeLayer::finish() {
  impl_->formats = impl_->packed->formats();
  impl_->format_names = names(impl_->formats);
  impl_->pool = std::make_unique<SlotPool>(impl_->backend, *impl_->packed, impl_->device);
  if (environment("MOEKIT_VERBOSE") == "1") std::fprintf(stderr, "%s", explain().c_str());
}

MoeLayer::~MoeLayer() = default;
MoeLayer::MoeLayer(MoeLayer&&) noexcept = default;
MoeLayer& MoeLayer::operator=(MoeLayer&&) noexcept = default;

const BlockConfig& MoeLayer::config() const noexcept { return impl_->config; }
const Device& MoeLayer::device() const noexcept { return impl_->device; }
std::string_view MoeLayer::backend() const noexcept { return impl_->backend.name(); }
std::string_view MoeLayer::format() const noexcept { return impl_->format_names; }
bool MoeLayer::takes(DType x) const noexcept {
  return x == DType::kFloat32 || x == DType::kBFloat16 || (x == DType::kFloat16 && impl_->backend.takes_float16());
}
std::size_t MoeLayer::packed_bytes() const noexcept { return impl_->packed->bytes(); }
std::size_t MoeLayer::resident_bytes() const noexcept { return impl_->packed->resident_bytes(); }
CacheCounts MoeLayer::cache_counts() const { return impl_->packed->cache_counts(); }
MemoryNeeds MoeLayer::memory_needs() const noexcept { return impl_->needs; }

void MoeLayer::forward(const MatrixView& x, const MutableMatrixView& y, const RouteInputs& inputs,
                       const RoutingView* routing, Stream* stream) const {
  const Impl& impl = *impl_;
  check_forward(*this, x, y, routing);
  const bool host = impl.device.kind == DeviceKind::kCpu;
  // Inputs in device memory are checked by the backend, where they can be read.
  if (host) validate(impl.config.router, impl.limits, inputs, x.rows);
  if (x.rows == 0) return;

  SlotPool& pool = *impl.pool;
  const SlotPool::Lease slot(pool);
  MatrixView source = x;
  if (memory_overlaps(x, y)) {
    if (!host) throw std::invalid_argument("[forward] x and y overlap in device memory");
    const auto row_bytes = static_cast<std::size_t>(x.cols) * dtype_size(x.dtype);
    pool.grow(slot->input, static_cast<std::size_t>(x.rows) * row_bytes);
    pack_rows(x, slot->input.data());
    source.data = slot->input.data();
    source.row_stride = x.cols;
  }
  source.col_stride = 1;

  const std::int64_t k = impl.config.router.top_k;
  RoutingView chosen{x.rows, k, nullptr, nullptr};
  if (routing != nullptr) {
    chosen = *routing;
  } else if (!impl.backend.keeps_routing()) {
    const auto slots = static_cast<std::size_t>(checked_mul(x.rows, k, "tokens * top_k"));
    pool.grow(slot->ids, slots * sizeof(std::int32_t));
    pool.grow(slot->weights, slots * sizeof(float));
    chosen = {x.rows, k, static_cast<std::int32_t*>(slot->ids.data()), static_cast<float*>(slot->weights.data())};
  }
  impl.backend.forward(*impl.packed, source, inputs, chosen, y, *slot->workspace, stream);
}

void MoeLayer::forward_host(const MatrixView& x, const MutableMatrixView& y, const RouteInputs& inputs,
                            const RoutingView* routing) const {
  const Impl& impl = *impl_;
  if (impl.device.kind == DeviceKind::kCpu) return forward(x, y, inputs, routing);
  check_forward(*this, x, y, routing);
  validate(impl.config.router, impl.limits, inputs, x.rows);
  if (x.rows == 0) return;

  SlotPool& pool = *impl.pool;
  const SlotPool::Lease slot(pool);
  const std::int64_t k = impl.config.router.top_k;
  const auto tokens = static_cast<std::size_t>(x.rows);
  const auto slots = static_cast<std::size_t>(checked_mul(x.rows, k, "tokens * top_k"));
  const std::size_t in_bytes = tokens * static_cast<std::size_t>(x.cols) * dtype_size(x.dtype);
  const std::size_t out_bytes = tokens * static_cast<std::size_t>(y.cols) * dtype_size(y.dtype);
  pool.grow(slot->input, in_bytes);
  pool.grow(slot->output, out_bytes);
  pool.grow(slot->ids, slots * sizeof(std::int32_t));
  pool.grow(slot->weights, slots * sizeof(float));

  const auto upload = [&](const Buffer& target, const void* source, std::size_t bytes) {
    impl.backend.copy(target.data(), source, bytes, CopyKind::kHostToDevice, nullptr);
  };
  const auto download = [&](void* target, const Buffer& source, std::size_t bytes) {
    impl.backend.copy(target, source.data(), bytes, CopyKind::kDeviceToHost, nullptr);
  };
  const void* rows = x.data;
  if (x.rows > 1 && x.row_stride != x.cols) {
    if (slot->rows.size() < in_bytes) slot->rows.resize(in_bytes);
    pack_rows(x, slot->rows.data());
    rows = slot->rows.data();
  }
  upload(slot->input, rows, in_bytes);
  const RoutingView chosen{x.rows, k, static_cast<std::int32_t*>(slot->ids.data()),
                           static_cast<float*>(slot->weights.data())};
  RouteInputs given;
  if (inputs.token_ids != nullptr) {
    pool.grow(slot->token_ids, tokens * sizeof(std::int64_t));
    upload(slot->token_ids, inputs.token_ids, tokens * sizeof(std::int64_t));
    given.token_ids = static_cast<const std::int64_t*>(slot->token_ids.data());
  }
  if (inputs.expert_ids != nullptr) {
    upload(slot->ids, inputs.expert_ids, slots * sizeof(std::int32_t));
    upload(slot->weights, inputs.weights, slots * sizeof(float));
    given.expert_ids = chosen.expert_ids;
    given.weights = chosen.weights;
  }
  impl.backend.forward(*impl.packed, {slot->input.data(), x.dtype, x.rows, x.cols, x.cols, 1}, given, chosen,
                       {slot->output.data(), y.dtype, y.rows, y.cols, y.cols}, *slot->workspace, nullptr);
  if (y.rows == 1 || y.row_stride == y.cols) {
    download(y.data, slot->output, out_bytes);
  } else {
    if (slot->rows.size() < out_bytes) slot->rows.resize(out_bytes);
    download(slot->rows.data(), slot->output, out_bytes);
    unpack_rows(slot->rows.data(), y);
  }
  if (routing == nullptr) return;
  download(routing->expert_ids, slot->ids, slots * sizeof(std::int32_t));
  download(routing->weights, slot->weights, slots * sizeof(float));
}

void MoeLayer::unpack(std::int64_t expert, const ExpertViews& out, bool shared) const {
  check_unpack(impl_->config, shared ? impl_->formats.shared : impl_->formats.routed, expert, shared, out);
  impl_->packed->unpack(expert, shared, out);
}

std::string MoeLayer::explain() const {
  const Impl& impl = *impl_;
  const ExpertConfig& e = impl.config.expert;
  std::string text = "backend: " + std::string(backend()) + " on " + to_string(impl.device) + "\n";
  text += "weights: " + std::string(format()) + ", " + std::to_string(packed_bytes()) + " bytes\n";
  for (const std::string& note : impl.notes) text += "checkpoint: " + note + "\n";
  text += "router: " + describe(impl.config.router) + "\n";
  text += "experts: " + std::string(activation_name(e.act)) + ", " + std::to_string(e.input) + " -> " +
          (e.intermediate > 0 ? std::to_string(e.intermediate) + " -> " : "") + std::to_string(e.output) + "\n";
  if (impl.config.shared.count > 0) text += "shared experts: " + std::to_string(impl.config.shared.count) + "\n";
  if (!impl.source.empty()) text += "file: " + impl.source + "\n";
  text += impl.packed->explain();
  if (!text.empty() && text.back() != '\n') text += "\n";
  if (!impl.declined.empty()) text += "declined:\n" + impl.declined;
  return text;
}

}  // namespace moekit
