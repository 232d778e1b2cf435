// SPDX-License-Identifier: Apache-2.0
// model.safetensors.index.json: {"metadata": {...}, "weight_map": {"tensor": "shard file", ...}}.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace moekit {

/// The largest index published so far has about 20 MB; the limit is that of a safetensors header.
inline constexpr std::uint64_t kMaxIndexBytes = 100'000'000;

struct ShardedIndex {
  struct Entry {
    std::string tensor;
    std::uint32_t shard;  // into shards
  };
  std::vector<std::string> shards;  // file names as written, not yet checked, sorted
  std::vector<Entry> entries;       // sorted by tensor
};

/// Throws CheckpointError for text that is not such an index. O(n log n).
ShardedIndex parse_index(std::string_view text, std::string_view file);

}  // namespace moekit
