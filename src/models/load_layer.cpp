// SPDX-License-Identifier: Apache-2.0
#include "models/converted.h"
#include "moekit/model.h"

namespace moekit {

MoeLayer load_layer(const std::string& path, std::int64_t layer, const LayerOptions& options,
                    const std::string& experts) {
  if (is_converted(path)) return MoeLayer::from_file(converted_file(path, layer, experts), options);
  const LoadedBlock block = load_block(path, layer, experts);
  return MoeLayer(block.config, block.tensors, options);
}

}  // namespace moekit
