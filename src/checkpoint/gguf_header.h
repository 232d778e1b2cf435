// SPDX-License-Identifier: Apache-2.0
// The header of a GGUF file (version 2 or 3, little endian): magic, counts, key-value pairs, tensor infos; then padding
// to the alignment and the tensors' bytes. Layout: the GGUF specification of the ggml project.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "checkpoint/gguf_metadata.h"
#include "moekit/tensor.h"

namespace moekit {

/// Tensors that a file may name. Published ones have below 3,000 since the experts of a layer are stacked.
inline constexpr std::uint64_t kMaxGgufTensors = 1 << 17;

struct GgufTensor {
  std::string name;
  DType dtype = DType::kFloat32;
  Encoding encoding = Encoding::kPlain;
  std::vector<std::int64_t> shape;  // [.., rows, cols]: ggml's extents from the last to the first
  std::uint64_t begin = 0;          // from the first byte of the file
  std::uint64_t end = 0;
};

struct GgufHeader {
  GgufMetadata metadata;
  std::vector<GgufTensor> tensors;  // by rising offset
};

/// Reads the header of a file of `size` bytes. Names are distinct; every tensor's bytes lie in the file and fit type
/// and shape; together they fill the file without overlap and with no more padding than the alignment asks for. Throws
/// CheckpointError naming file, tensor, value seen and limit. Time is O(n log n) in pairs and tensors.
GgufHeader parse_gguf_header(const Storage& storage, std::uint64_t size, std::string_view file);

}  // namespace moekit
