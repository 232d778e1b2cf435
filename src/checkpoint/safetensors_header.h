// SPDX-License-Identifier: Apache-2.0
// The header of a safetensors file: 8 bytes of little-endian length, then JSON, then the tensors' bytes without holes.
// Pure functions over memory, so that they can be fuzzed.
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <string_view>
#include <vector>

#include "moekit/core.h"

namespace moekit {

/// Bytes of JSON that a header may have: the limit of the safetensors format itself.
inline constexpr std::uint64_t kMaxSafetensorsHeader = 100'000'000;
/// Tensors that a file may name. The largest published checkpoints have about 210,000 in all their shards together.
inline constexpr std::size_t kMaxSafetensorsTensors = std::size_t{1} << 20;

struct SafetensorsEntry {
  std::string name;
  DType dtype = DType::kFloat32;
  std::vector<std::int64_t> shape;
  std::uint64_t begin = 0;  // from the first byte of the file
  std::uint64_t end = 0;
};

/// What "__metadata__" holds: strings by name.
using SafetensorsMetadata = std::map<std::string, std::string, std::less<>>;

/// The name that the format gives a dtype: "BF16".
std::string_view safetensors_dtype(DType dtype) noexcept;

/// Length of the JSON text. `prefix` holds the first 8 bytes of the file, or all of a shorter one.
/// Throws CheckpointError.
std::uint64_t safetensors_header_length(std::string_view prefix, std::uint64_t file_size, std::string_view file);

/// The tensors by rising offset. `json` is the text of the header without the length before it. Every tensor's bytes
/// lie in the file, fit dtype and shape, and together they fill the file without overlap or hole.
/// Throws CheckpointError naming file, tensor, value seen and limit. Time is O(n log n) in the tensors.
std::vector<SafetensorsEntry> parse_safetensors_header(std::string_view json, std::uint64_t file_size,
                                                       std::string_view file, SafetensorsMetadata* metadata = nullptr);

}  // namespace moekit
