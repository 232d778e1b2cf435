// SPDX-License-Identifier: Apache-2.0
// What a config.json alone says.
#pragma once

#include <cstdint>
#include <string>
#include <utility>
#include <vector>

#include "models/tiny_model.h"
#include "moekit/model.h"

namespace moekit::test {

using Layers = std::vector<std::int64_t>;

inline Layers layers_of(const nlohmann::json& config) {
  const TempFolder folder;
  folder.write("config.json", config.dump());
  return inspect_model(folder.path()).moe_layers;
}
inline std::string config_error_of(const nlohmann::json& config) {
  return checkpoint_error_of([&] { layers_of(config); });
}
inline nlohmann::json with(nlohmann::json config, const char* field, nlohmann::json value) {
  config[field] = std::move(value);
  return config;
}

}  // namespace moekit::test
