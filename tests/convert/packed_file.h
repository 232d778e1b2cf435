// SPDX-License-Identifier: Apache-2.0
// A packed layer written to a file, and its bytes changed.
#pragma once

#include <fstream>
#include <iterator>
#include <memory>
#include <string>

#include <nlohmann/json.hpp>

#include "checkpoint/files.h"
#include "checkpoint/seal.h"
#include "conformance/quantised.h"
#include "layer/choose_formats.h"
#include "layer/packed_layer.h"

namespace moekit::test {

inline std::string read_bytes(const std::string& path) {
  std::ifstream in(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(in), {}};
}

/// Packs for the CPU and writes; answers the path.
inline std::string write_layer(const TempFolder& folder, const BlockConfig& config, const BlockTensors& tensors,
                               const std::string& dtype = "auto") {
  LayerOptions options;
  options.dtype = dtype;
  const BlockFormats formats = choose_formats(config, tensors, options);
  const auto packed = backend_by_name("cpu").pack(config, tensors, formats, {});
  const LockedFolder locked(folder.path());
  return folder.path(write_packed_layer(locked, {"arrays", 0, ""}, tensors, *packed).file);
}

/// A file with another header, under a checksum that fits: what an attacker writes.
inline std::string with_header(const std::string& bytes, const std::function<void(nlohmann::ordered_json&)>& edit) {
  const std::size_t data = 8 + static_cast<unsigned char>(bytes[0]) + 256u * static_cast<unsigned char>(bytes[1]) +
                           65536u * static_cast<unsigned char>(bytes[2]);
  auto json = nlohmann::ordered_json::parse(bytes.substr(8, data - 8));
  edit(json);
  json["__metadata__"]["checksum"] = std::string(16, '0');
  std::string text = json.dump();
  text.append((4096 - (8 + text.size()) % 4096) % 4096, ' ');
  seal(text, R"({"__metadata__":{"checksum":")");
  return safetensors_bytes(text, bytes.substr(data));
}

}  // namespace moekit::test
