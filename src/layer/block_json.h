// SPDX-License-Identifier: Apache-2.0
// A block's configuration and formats as JSON: what files of packed layers say about themselves.
#pragma once

#include <string>
#include <string_view>

#include "moekit/layer.h"
#include "moekit/weight_format.h"

namespace moekit {

std::string to_json(const BlockConfig& config);
std::string to_json(const BlockFormats& formats);

/// The inverse: every field is there, none is unknown, and the whole is valid. Throws CheckpointError naming `file`,
/// the field, its value and what is expected.
BlockConfig config_from_json(std::string_view text, std::string_view file);
BlockFormats formats_from_json(std::string_view text, std::string_view file);

}  // namespace moekit
