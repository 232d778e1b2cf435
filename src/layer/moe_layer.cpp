// SPDX-License-Identifier: Apache-2.0
#include <cstdio>
#include <cstring>
#include <stdexcept>
#include <string>
#include <utility>

#include "core/environment.h"
#include "layer/choose_formats.h"
#include "layer/forward_checks.h"
#include "layer/packed_layer.h"
#include "layer/slot_pool.h"
#include "moekit/error.h"
#include "moekit/layer.h"
#include "routing/routing.h"

namespace moekit {
namespace {

void copy_rows(const MatrixView& x, void* target) noexcept {
  const auto size = static_cast<std::int64_t>(dtype_size(x.dtype));
  const auto row_bytes = static_cast<std::size_t>(x.cols * size);
  for (std::int64_t r = 0; r < x.rows; ++r)
    std::memcpy(static_cast<char*>(target) + static_cast<std::size_t>(r) * row_bytes,
                static_cast<const char*>(x.data) + r * x.row_stride * size, row_bytes);
}

}  // namespace

struct MoeLayer::Impl {
  Impl(const BlockConfig& block_config, const BlockFormats& block_formats, const LayerOptions& options)
      : config(block_config),
        formats(block_formats),
        format_names(names(formats)),
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
  std::unique_ptr<SlotPool> pool;
};

MoeLayer::MoeLayer(const BlockConfig& config, const BlockTensors& tensors, const LayerOptions& options) {
  validate(config);
  validate(config, tensors);
  impl_ = std::make_unique<Impl>(config, choose_formats(config, tensors, options), options);
  impl_->notes = tensors.notes;
  if (config.router.source == RouterSource::kHashTable) impl_->limits.vocabulary = tensors.router.tid2eid.shape[0];
  impl_->packed = impl_->backend.pack(config, tensors, impl_->formats, options.device);
  finish();
}

MoeLayer::MoeLayer(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) { finish(); }

MoeLayer MoeLayer::from_file(const std::string& path, const LayerOptions& options) {
  const PackedLayer layer = open_packed_layer(path);
  const std::string held = names(layer.formats);
  if (options.dtype != "auto" && options.dtype != held)
    throw CheckpointError("[load] " + path + ": converted to " + held + ", dtype '" + options.dtype +
                          "' asked; convert the checkpoint again with that dtype");
  if (options.backend != "auto" && backend_by_name(options.backend).layout() != layer.layout)
    return MoeLayer(layer.config, unpacked_tensors(layer), [&] {
      LayerOptions unpacked = options;
      unpacked.dtype = "auto";
      return unpacked;
    }());
  auto impl = std::make_unique<Impl>(layer.config, layer.formats, options);
  impl->limits.vocabulary = layer.dense.router.tid2eid ? layer.dense.router.tid2eid.shape[0] : 0;
  impl->notes = layer.dense.notes;
  const bool map = options.map_files && environment("MOEKIT_MAP_FILES") != "0";
  impl->source = path + (map ? ", mapped" : ", read into memory");
  impl->packed =
      impl->backend.import_block(layer.config, layer.dense, layer.formats, packed_parts(layer, map), options.device);
  return MoeLayer(std::move(impl));
}

void MoeLayer::finish() {
  impl_->pool = std::make_unique<SlotPool>(impl_->backend, *impl_->packed, impl_->device);
  if (environment("MOEKIT_VERBOSE") == "1") std::fprintf(stderr, "%s", explain().c_str());
}

MoeLayer::~MoeLayer() = default;
MoeLayer::MoeLayer(MoeLayer&&) noexcept = default;
MoeLayer& MoeLayer::operator=(MoeLayer&&) noexcept = default;

const BlockConfig& MoeLayer::config() const noexcept { return impl_->config; }
std::string_view MoeLayer::backend() const noexcept { return impl_->backend.name(); }
std::string_view MoeLayer::format() const noexcept { return impl_->format_names; }
std::size_t MoeLayer::packed_bytes() const noexcept { return impl_->packed->bytes(); }

void MoeLayer::forward(const MatrixView& x, const MutableMatrixView& y, const RouteInputs& inputs,
                       const RoutingView* routing, Stream* stream) const {
  const Impl& impl = *impl_;
  check_forward(impl.config, x, y, routing);
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
    copy_rows(x, slot->input.data());
    source.data = slot->input.data();
    source.row_stride = x.cols;
  }
  source.col_stride = 1;

  RoutingView chosen;
  if (routing != nullptr) {
    chosen = *routing;
  } else {
    const std::int64_t k = impl.config.router.top_k;
    const auto slots = static_cast<std::size_t>(checked_mul(x.rows, k, "tokens * top_k"));
    pool.grow(slot->ids, slots * sizeof(std::int32_t));
    pool.grow(slot->weights, slots * sizeof(float));
    chosen = {x.rows, k, static_cast<std::int32_t*>(slot->ids.data()), static_cast<float*>(slot->weights.data())};
  }
  impl.backend.forward(*impl.packed, source, inputs, chosen, y, *slot->workspace, stream);
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
