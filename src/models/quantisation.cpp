// SPDX-License-Identifier: Apache-2.0
#include "models/quantisation.h"

#include <filesystem>

#include "checkpoint/file.h"
#include "models/quantisation_section.h"

namespace moekit {
namespace {

struct Method {
  const char* name;  // quant_method
  void (*read)(const QuantSection& section, Quantisation& out);
};
constexpr Method kMethods[] = {
    {"fp8", read_fp8},     {"compressed-tensors", read_compressed_tensors},
    {"gptq", read_gptq},   {"awq", read_awq},
    {"mxfp4", read_mxfp4}, {"modelopt", read_modelopt},
};

/// Files that quantisation tools write beside config.json, and the method of one that names none.
struct SideFile {
  const char* name;
  const char* method;
};
constexpr SideFile kSideFiles[] = {
    {"hf_quant_config.json", "modelopt"}, {"quantize_config.json", "gptq"}, {"quant_config.json", "awq"}};
constexpr std::uint64_t kMaxSideFileBytes = std::uint64_t{1} << 24;  // ModelOpt lists every layer

/// Null pointer when config.json has none.
const Json* in_config(const Config& config, std::string& path) {
  for (const Json::Object* object : {&config.root(), &config.text()})
    for (const char* name : {"quantization_config", "compression_config"}) {
      const Json* found = object->find(name);
      if (found == nullptr || found->is_null()) continue;
      path = name;
      return found;
    }
  return nullptr;
}

Quantisation read_section(const Config& config, const std::string& path, const Json& value, const char* absent) {
  if (value.object() == nullptr) config.fail(path + " is " + value.text() + ", expected an object");
  const QuantSection section(config, path + ".", *value.object());
  const Json* named = section.find({"quant_method"});
  // Older compressed-tensors files name their format only.
  if (absent == nullptr && value.object()->find("config_groups") != nullptr) absent = "compressed-tensors";
  std::string known;
  for (const Method& method : kMethods) {
    if (named == nullptr ? absent != nullptr && method.name == std::string_view(absent) : *named == method.name) {
      Quantisation out;
      out.method = method.name;
      method.read(section, out);
      return out;
    }
    known += (known.empty() ? "" : ", ") + std::string(method.name);
  }
  config.fail(path + " with quant_method " + (named != nullptr ? named->text() : "missing") + ", known are " + known);
}

}  // namespace

Quantisation read_quantisation(const Config& config) {
  std::string path;
  if (const Json* found = in_config(config, path)) return read_section(config, path, *found, nullptr);
  const std::filesystem::path folder = std::filesystem::path(config.path()).parent_path();
  for (const SideFile& side : kSideFiles) {
    std::error_code error;
    if (!std::filesystem::exists(folder / side.name, error)) continue;
    const std::string file = file_in_folder(folder.string(), side.name);
    const Json root = parse_json(read_text(file, kMaxSideFileBytes), "config", file);
    const Json* inner = root.object()->find("quantization");
    return read_section(config, side.name, inner != nullptr ? *inner : root, side.method);
  }
  return {};
}

}  // namespace moekit
