// SPDX-License-Identifier: Apache-2.0
#include "moekit/model.h"

namespace moekit {

MoeLayer load_layer(const std::string& path, std::int64_t layer, const LayerOptions& options) {
  const LoadedBlock block = load_block(path, layer);
  return MoeLayer(block.config, block.tensors, options);
}

}  // namespace moekit
