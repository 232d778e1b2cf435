// SPDX-License-Identifier: Apache-2.0
// Checkpoints: names to tensors, read on demand from files that are checked before anything is believed.
#pragma once

#include <cstddef>
#include <functional>
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
  /// A .safetensors file, a folder with model.safetensors or model.safetensors.index.json, or a .gguf file: also the
  /// first of a set of parts, name-00001-of-0000N.gguf, with the others beside it.
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

/// The bytes of a checkpoint's tensor without a copy: the file is mapped read-only once, and stays mapped while the
/// pointer lives. Not aligned beyond what the file gives. For tools that look at tensors: unlike Storage::read, touching
/// the bytes of a file that was cut short meanwhile ends the process with SIGBUS.
/// Throws std::invalid_argument for a tensor in memory, CheckpointError when the file cannot be mapped.
std::shared_ptr<const std::byte> map_tensor(const TensorRef& tensor);

}  // namespace moekit
