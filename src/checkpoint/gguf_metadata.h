// SPDX-License-Identifier: Apache-2.0
// The key-value pairs at the front of a GGUF file.
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <string_view>

#include "checkpoint/gguf_cursor.h"
#include "checkpoint/json_value.h"

namespace moekit {

/// Values by key. Vocabularies and templates are checked but not kept: strings of more than 1024 bytes, arrays of
/// strings or of arrays, and arrays of more than 1024 numbers are null.
using GgufMetadata = std::map<std::string, Json, std::less<>>;

/// Pairs that a file may have. Published ones have below 100.
inline constexpr std::uint64_t kMaxGgufPairs = 1 << 16;

/// Reads `count` pairs. Throws CheckpointError naming key, value and limit.
GgufMetadata read_gguf_metadata(GgufCursor& cursor, std::uint64_t count);

/// The unsigned integer of a key, or `absent` when there is none. Throws CheckpointError when it is no integer from 0
/// on.
std::uint64_t gguf_unsigned(const GgufMetadata& metadata, const char* key, std::uint64_t absent, std::string_view file);

}  // namespace moekit
