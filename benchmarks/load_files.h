// SPDX-License-Identifier: Apache-2.0
// Checkpoints of one Qwen3-30B-A3B layer with half of its experts, in a temporary folder: one for each way in which
// published weights lie. Codes are random, scales are usual ones; nobody runs the layers.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

namespace moekit::bench {

constexpr std::int64_t kFileExperts = 64;

/// A folder that goes with the object: config.json and model.safetensors. Just written, the files are in the page
/// cache.
class LoadFiles {
 public:
  /// One of load_schemes().
  explicit LoadFiles(const std::string& scheme);
  ~LoadFiles();
  LoadFiles(const LoadFiles&) = delete;
  LoadFiles& operator=(const LoadFiles&) = delete;

  const std::string& folder() const noexcept { return folder_; }
  std::string weights() const { return folder_ + "/model.safetensors"; }

 private:
  std::string folder_;
};

std::vector<std::string> load_schemes();

}  // namespace moekit::bench
