// SPDX-License-Identifier: Apache-2.0
#include "models/converted.h"

#include <algorithm>
#include <filesystem>
#include <nlohmann/json.hpp>
#include <set>
#include <system_error>
#include <utility>

#include "checkpoint/file.h"
#include "checkpoint/json_value.h"
#include "checkpoint/seal.h"
#include "checkpoint/text.h"
#include "layer/packed_layer.h"

namespace moekit {
namespace {

namespace fs = std::filesystem;
constexpr const char* kOperation = "converted model";
constexpr const char* kKind = "moekit converted model";
constexpr std::int64_t kVersion = 1;
constexpr std::string_view kOpening = R"({"checksum":")";
// 200 bytes a layer, and no model has 10,000 layers.
constexpr std::uint64_t kMaxManifestBytes = std::uint64_t{4} << 20;

struct Fields {
  const Json::Object& object;
  const std::string& file;

  const Json& at(const char* key) const {
    const Json* value = object.find(key);
    if (value == nullptr) checkpoint_error(kOperation, file, std::string(key) + " is missing");
    return *value;
  }
  [[noreturn]] void fail(const char* key, const std::string& expected) const {
    checkpoint_error(kOperation, file, std::string(key) + " is " + at(key).text() + ", expected " + expected);
  }
  std::string text(const char* key) const {
    if (at(key).string() == nullptr) fail(key, "a string");
    return *at(key).string();
  }
  std::int64_t integer(const char* key) const {
    const std::int64_t* value = at(key).integer();
    if (value == nullptr || *value < 0) fail(key, "an integer from 0");
    return *value;
  }
};

ConvertedModel parse_manifest(const std::string& text, const std::string& file) {
  if (unseal(text, kOpening).empty())
    checkpoint_error(kOperation, file, "does not have the checksum that it names: damaged or edited");
  const Json json = parse_json(text, kOperation, file);
  const Fields fields = {*json.object(), file};
  if (fields.text("kind") != kKind) fields.fail("kind", in_quotes(kKind));
  if (fields.integer("version") != kVersion) fields.fail("version", std::to_string(kVersion));
  ConvertedModel model = {fields.text("family"), fields.integer("num_layers"), {}};
  if (fields.at("layers").array() == nullptr) fields.fail("layers", "a list");
  std::set<std::pair<std::int64_t, std::string>> seen;
  for (const Json& entry : *fields.at("layers").array()) {
    if (entry.object() == nullptr) checkpoint_error(kOperation, file, "a layer is " + entry.text());
    const Fields each = {*entry.object(), file};
    ConvertedLayer layer = {each.integer("layer"), each.object.find("experts") != nullptr ? each.text("experts") : "",
                            each.text("file"),     static_cast<std::uint64_t>(each.integer("bytes")),
                            each.text("checksum"), each.text("format")};
    const std::int64_t last = model.layers.empty() ? -1 : model.layers.back().layer;
    if (layer.layer >= model.num_layers || layer.layer < last)
      each.fail("layer", "rising numbers below " + std::to_string(model.num_layers));
    if (!seen.emplace(layer.layer, layer.experts).second) each.fail("layer", "one entry for each layer and expert set");
    if (!model.layers.empty() && layer.experts.empty() != model.layers.front().experts.empty())
      each.fail("layer", "expert sets with a name in all layers or in none");
    model.layers.push_back(std::move(layer));
  }
  return model;
}

/// Names of the expert sets, those of the first layer; empty where blocks have one.
std::vector<std::string> expert_sets(const ConvertedModel& model) {
  std::vector<std::string> names;
  for (const ConvertedLayer& layer : model.layers)
    if (!layer.experts.empty() && layer.layer == model.layers.front().layer) names.push_back(layer.experts);
  return names;
}

/// The expert set of a file, if it has a name.
std::vector<std::string> set_of(const PackedLayer& packed) {
  return packed.name.experts.empty() ? std::vector<std::string>{} : std::vector<std::string>{packed.name.experts};
}

[[noreturn]] void fail_set(const std::string& path, const std::string& asked, const std::vector<std::string>& known) {
  std::string list;
  for (const std::string& name : known) list += (list.empty() ? "" : ", ") + printable(name);
  checkpoint_error(kOperation, path,
                   "no expert set " + in_quotes(asked) + ": there " +
                       (known.empty() ? "is one, which has no name" : (known.size() > 1 ? "are " : "is ") + list));
}

}  // namespace

std::string manifest_text(const ConvertedModel& model) {
  nlohmann::ordered_json json = {{"checksum", std::string(16, '0')},
                                 {"kind", kKind},
                                 {"version", kVersion},
                                 {"written_by", "moekit " + std::string(version())},
                                 {"family", model.family},
                                 {"num_layers", model.num_layers},
                                 {"layers", nlohmann::ordered_json::array()}};
  for (const ConvertedLayer& layer : model.layers) {
    nlohmann::ordered_json entry = {{"layer", layer.layer},
                                    {"file", layer.file},
                                    {"bytes", layer.bytes},
                                    {"checksum", layer.checksum},
                                    {"format", layer.format}};
    if (!layer.experts.empty()) entry["experts"] = layer.experts;
    json["layers"].push_back(std::move(entry));
  }
  std::string text = json.dump();
  seal(text, kOpening);
  return text;
}

bool is_converted(const std::string& path) {
  if (path.find('\0') != std::string::npos) return false;
  std::error_code error;
  if (fs::is_directory(path, error)) return fs::exists(fs::symlink_status(fs::path(path) / kManifest, error));
  return fs::is_regular_file(path, error) && SealedFile::begins_sealed(path);
}

ConvertedModel converted_model(const std::string& folder) {
  const std::string file = file_in_folder(folder, kManifest);
  return parse_manifest(read_text(file, kMaxManifestBytes), file);
}

std::string converted_file(const std::string& path, std::int64_t layer, const std::string& experts) {
  std::error_code error;
  if (!fs::is_directory(path, error)) {
    const PackedLayer packed = open_packed_layer(path);
    if (packed.name.layer != layer)
      checkpoint_error(
          kOperation, path,
          "holds layer " + std::to_string(packed.name.layer) + ", layer " + std::to_string(layer) + " asked");
    if (!experts.empty() && experts != packed.name.experts) fail_set(path, experts, set_of(packed));
    return path;
  }
  const ConvertedModel model = converted_model(path);
  const std::vector<std::string> sets = expert_sets(model);
  if (!experts.empty() && std::find(sets.begin(), sets.end(), experts) == sets.end()) fail_set(path, experts, sets);
  const std::string wanted = experts.empty() && !sets.empty() ? sets.front() : experts;
  std::vector<std::int64_t> layers;
  for (const ConvertedLayer& each : model.layers) {
    if (each.experts != wanted) continue;
    layers.push_back(each.layer);
    if (each.layer != layer) continue;
    const std::string file = file_in_folder(path, each.file);
    // The file is the one that this manifest was written with, and of this layer.
    const PackedLayer packed = open_packed_layer(file);
    if (packed.file->checksum() != each.checksum || packed.file->bytes() != each.bytes || packed.name.layer != layer ||
        packed.name.family != model.family || packed.name.experts != wanted)
      checkpoint_error(kOperation, file, "is not the file that " + std::string(kManifest) + " was written with");
    return file;
  }
  checkpoint_error(
      kOperation, path,
      "layer " + std::to_string(layer) +
          (layer < 0 || layer >= model.num_layers ? " of " + std::to_string(model.num_layers) : " is dense") +
          "; layers with experts are " + shape_text(layers));
}

ModelInfo inspect_converted(const std::string& path) {
  std::error_code error;
  if (!fs::is_directory(path, error)) {
    const PackedLayer packed = open_packed_layer(path);
    return {packed.name.family, packed.name.layer + 1, {packed.name.layer}, set_of(packed)};
  }
  const ConvertedModel model = converted_model(path);
  ModelInfo info = {model.family, model.num_layers, {}, expert_sets(model)};
  for (const ConvertedLayer& layer : model.layers)
    if (info.moe_layers.empty() || info.moe_layers.back() != layer.layer) info.moe_layers.push_back(layer.layer);
  return info;
}

BlockConfig converted_config(const std::string& path, std::int64_t layer, const std::string& experts) {
  return open_packed_layer(converted_file(path, layer, experts)).config;
}

LoadedBlock load_converted(const std::string& path, std::int64_t layer, const std::string& experts) {
  const PackedLayer packed = open_packed_layer(converted_file(path, layer, experts));
  return {packed.config, unpacked_tensors(packed)};
}

void verify_converted(const std::string& path, std::int64_t layer, const std::string& experts) {
  open_packed_layer(converted_file(path, layer, experts)).file->verify();
}

}  // namespace moekit
