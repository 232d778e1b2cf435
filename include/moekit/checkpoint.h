// SPDX-License-Identifier: Apache-2.0
// Checkpoints: names to tensors, read on demand from files that are checked before anything is believed.
#pragma once

#include <map>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "moekit/error.h"
#include "moekit/tensor.h"

namespace moekit {

class Checkpoint {
 public:
  /// A .safetensors file, or a folder with model.safetensors or model.safetensors.index.json.
  /// Throws CheckpointError naming the file, the value seen and the limit.
  static Checkpoint open(const std::string& path);

  bool contains(std::string_view name) const;
  /// Throws CheckpointError naming the tensor and the nearest name that exists.
  const TensorRef& tensor(std::string_view name) const;
  /// All names, sorted.
  const std::map<std::string, TensorRef, std::less<>>& tensors() const noexcept { return tensors_; }
  /// Folder of the checkpoint (where config.json is looked for).
  const std::string& folder() const noexcept { return folder_; }
  const std::string& path() const noexcept { return path_; }

 private:
  std::map<std::string, TensorRef, std::less<>> tensors_;
  std::string folder_;
  std::string path_;
};

}  // namespace moekit
