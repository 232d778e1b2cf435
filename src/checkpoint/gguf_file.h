// SPDX-License-Identifier: Apache-2.0
// GGUF files on disk: one, or a set of parts name-00001-of-0000N.gguf.
#pragma once

#include <string>
#include <vector>

#include "checkpoint/gguf_metadata.h"
#include "moekit/tensor.h"

namespace moekit {

struct GgufModel {
  GgufMetadata metadata;  // of the first part, which has those of the model
  std::vector<TensorRef> tensors;
};

/// Whether a path is that of a GGUF file: it ends in .gguf, or the file begins with the magic.
bool is_gguf(const std::string& path);

/// Opens a file and, when it is the first part of a set, the others beside it. Throws CheckpointError.
GgufModel open_gguf(const std::string& path);

}  // namespace moekit
