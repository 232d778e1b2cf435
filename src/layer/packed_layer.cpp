// SPDX-License-Identifier: Apache-2.0
#include "layer/packed_layer.h"

#include <array>
#include <cerrno>
#include <cstdlib>
#include <deque>

#include "checkpoint/text.h"
#include "core/float_convert.h"
#include "layer/block_json.h"
#include "moekit/error.h"
#include "routing/routing.h"

namespace moekit {
namespace {

constexpr const char* kOperation = "packed layer";
constexpr const char* kKind = "moekit packed layer";
constexpr const char* kVersion = "1";  // of the container; layouts have versions of their own
constexpr const char* kSharedGate = "shared_gate";
constexpr const char* kExperts = "experts";  // absent where the block has one set
constexpr const char* kByteOrder = __BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__ ? "little" : "big";

struct RouterPart {
  const char* name;
  TensorRef RouterTensors::*tensor;
};
constexpr RouterPart kRouterParts[] = {{"router.weight", &RouterTensors::weight},
                                       {"router.bias", &RouterTensors::bias},
                                       {"router.selection_bias", &RouterTensors::selection_bias},
                                       {"router.in_scale", &RouterTensors::in_scale},
                                       {"router.per_expert_scale", &RouterTensors::per_expert_scale},
                                       {"router.tid2eid", &RouterTensors::tid2eid}};

void expect(const SealedFile& file, const char* key, const std::string& expected) {
  const std::string& seen = file.metadata(key);
  if (seen != expected)
    checkpoint_error(kOperation, file.path(),
                     std::string(key) + " is " + in_quotes(seen) + ", this library reads " + in_quotes(expected));
}

std::int64_t read_integer(const SealedFile& file, const char* key) {
  const std::string& text = file.metadata(key);
  char* end = nullptr;
  errno = 0;
  const long long value = std::strtoll(text.c_str(), &end, 10);
  if (errno != 0 || text.empty() || *end != '\0' || value < 0)
    checkpoint_error(kOperation, file.path(), std::string(key) + " is " + in_quotes(text) + ", expected an integer");
  return value;
}

std::string joined(const std::vector<std::string>& lines) {
  std::string text;
  for (const std::string& line : lines) text += line + "\n";
  return text;
}

std::vector<std::string> split(const std::string& text) {
  std::vector<std::string> lines;
  for (std::size_t at = 0, end = 0; (end = text.find('\n', at)) != std::string::npos; at = end + 1)
    lines.push_back(printable(text.substr(at, end - at)));
  return lines;
}

const Backend* find_layout(const std::string& layout, std::string* known) {
  std::size_t count = 0;
  const Backend* const* list = backends(&count);
  for (std::size_t i = 0; i < count; ++i) {
    if (list[i]->layout().empty()) continue;
    if (list[i]->layout() == layout) return list[i];
    if (known != nullptr) *known += (known->empty() ? "" : ", ") + in_quotes(list[i]->layout());
  }
  return nullptr;
}

}  // namespace

WrittenLayer write_packed_layer(const LockedFolder& folder, const LayerName& name, const BlockTensors& tensors,
                                const PackedBlock& packed) {
  std::vector<SealedTensor> out;
  std::deque<ByteScratch> kept;  // addresses stay while it grows
  for (const RouterPart& part : kRouterParts) {
    const TensorRef& tensor = tensors.router.*part.tensor;
    if (!tensor) continue;
    const auto bytes = static_cast<std::size_t>(tensor.elements()) * dtype_size(tensor.dtype);
    out.push_back(
        {part.name, tensor.dtype, tensor.shape, tensor.storage->read(tensor.offset, bytes, kept.emplace_back())});
  }
  std::vector<float> gate;
  if (tensors.shared_gate) {
    const MatrixView view = tensors.shared_gate.read(kept.emplace_back());
    gate.resize(static_cast<std::size_t>(view.cols));
    load_as_float(view.data, view.dtype, 0, view.col_stride, view.cols, gate.data());
    out.push_back({kSharedGate, DType::kFloat32, {1, view.cols}, reinterpret_cast<const std::byte*>(gate.data())});
  }
  const PackedParts parts = packed.export_parts();
  for (const PackedPart& part : parts.parts) out.push_back({part.name, part.dtype, part.shape, part.data.get()});

  std::vector<std::pair<std::string, std::string>> metadata = {{"kind", kKind},
                                                               {"version", kVersion},
                                                               {"byte_order", kByteOrder},
                                                               {"layout", parts.layout},
                                                               {"written_by", "moekit " + std::string(version())},
                                                               {"family", name.family},
                                                               {"layer", std::to_string(name.layer)},
                                                               {"notes", joined(tensors.notes)},
                                                               {"config", to_json(packed.config())},
                                                               {"formats", to_json(packed.formats())}};
  if (!name.experts.empty()) metadata.emplace_back(kExperts, name.experts);
  const SealedHeader header = seal_tensors(out, metadata);
  const std::string index = std::to_string(name.layer);
  const std::string file = "layer-" + std::string(5 - std::min<std::size_t>(5, index.size()), '0') + index + "-" +
                           header.checksum + ".safetensors";
  write_sealed(folder, file, header, out);
  return {file, header.checksum, header.file_bytes};
}

PackedLayer open_packed_layer(const std::string& path) {
  PackedLayer layer;
  layer.file = SealedFile::open(path);
  const SealedFile& file = *layer.file;
  expect(file, "kind", kKind);
  expect(file, "version", kVersion);
  expect(file, "byte_order", kByteOrder);
  layer.layout = file.metadata("layout");
  std::string known;
  if (find_layout(layer.layout, &known) == nullptr)
    checkpoint_error(
        kOperation, path,
        "layout is " + in_quotes(layer.layout) + ", this library reads " + known + ": convert the checkpoint again");
  layer.name = {file.metadata("family"), read_integer(file, "layer"),
                file.has_metadata(kExperts) ? file.metadata(kExperts) : ""};
  layer.config = config_from_json(file.metadata("config"), path);
  layer.formats = formats_from_json(file.metadata("formats"), path);
  layer.dense.notes = split(file.metadata("notes"));
  for (const RouterPart& part : kRouterParts)
    if (const SafetensorsEntry* entry = file.find(part.name)) layer.dense.router.*part.tensor = file.tensor(*entry);
  validate(layer.config.router, layer.dense.router, layer.config.expert.input);
  if (layer.config.shared.count == 0 || layer.config.shared.gate != SharedGate::kSigmoid) return layer;
  const SafetensorsEntry* gate = file.find(kSharedGate);
  const std::vector<std::int64_t> shape = {1, layer.config.expert.input};
  if (gate == nullptr || gate->dtype != DType::kFloat32 || gate->shape != shape)
    checkpoint_error(kOperation, path,
                     std::string(kSharedGate) + " is missing or of another shape than float32 " + shape_text(shape));
  layer.dense.shared_gate = matrix_of(file.tensor(*gate));
  return layer;
}

PackedParts packed_parts(const PackedLayer& layer, bool map) {
  PackedParts parts = {layer.layout, {}};
  const std::shared_ptr<const std::byte> data = map ? layer.file->map() : layer.file->read();
  for (const SafetensorsEntry& entry : layer.file->tensors())
    parts.parts.push_back({entry.name, entry.dtype, entry.shape, {data, data.get() + entry.begin}});
  return parts;
}

const Backend& layout_backend(const PackedLayer& layer) { return *find_layout(layer.layout, nullptr); }

}  // namespace moekit
