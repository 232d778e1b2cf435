// SPDX-License-Identifier: Apache-2.0
// The folder of a converted model: moekit.json, and a file a layer that it names.
#pragma once

#include <string>

#include "moekit/convert.h"
#include "moekit/model.h"

namespace moekit {

inline constexpr const char* kManifest = "moekit.json";

/// moekit.json, with its checksum in it.
std::string manifest_text(const ConvertedModel& model);
/// The file of a layer, by the folder or as the file itself. Throws CheckpointError for a layer that is not there.
std::string converted_file(const std::string& path, std::int64_t layer, const std::string& experts);

/// What model.h offers, of a converted path.
ModelInfo inspect_converted(const std::string& path);
BlockConfig converted_config(const std::string& path, std::int64_t layer, const std::string& experts);
LoadedBlock load_converted(const std::string& path, std::int64_t layer, const std::string& experts);

}  // namespace moekit
