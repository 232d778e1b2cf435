// SPDX-License-Identifier: Apache-2.0
// Files that moekit writes for itself: safetensors whose tensors begin at page boundaries and carry checksums, under a
// header that carries its own. Other readers of the format can read them.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "checkpoint/atomic_file.h"
#include "checkpoint/file.h"
#include "checkpoint/safetensors_header.h"

namespace moekit {

/// A tensor to be written: contiguous bytes in memory.
struct SealedTensor {
  std::string name;
  DType dtype = DType::kUInt8;
  std::vector<std::int64_t> shape;
  const std::byte* data = nullptr;
};

/// Tensors of these names fill the space up to the next page boundary; they are zero and nobody asks for them.
inline constexpr std::string_view kPaddingPrefix = "padding.";
/// Where tensors begin: the page of a mapping. Panels want cache lines of 64 bytes.
inline constexpr std::uint64_t kSealedAlignment = 4096;

/// The header of a file with these tensors. All data is read for its checksums.
struct SealedHeader {
  std::string text;  // the length before the JSON text included
  std::string checksum;
  std::uint64_t file_bytes = 0;
};
SealedHeader seal_tensors(const std::vector<SealedTensor>& tensors,
                          const std::vector<std::pair<std::string, std::string>>& metadata);
/// Writes the file, whole or not at all. Throws CheckpointError.
void write_sealed(const LockedFolder& folder, const std::string& name, const SealedHeader& header,
                  const std::vector<SealedTensor>& tensors);

/// A file of this kind, its header read and checked.
class SealedFile {
 public:
  /// Throws CheckpointError when the file cannot be read, its header is not well-formed or does not have its checksum,
  /// or its size is not what the header says. The data is not read.
  static std::shared_ptr<const SealedFile> open(const std::string& path);
  /// Whether the first bytes of a regular file are those of a sealed header. False for what cannot be read.
  static bool begins_sealed(const std::string& path);

  const std::string& path() const noexcept { return file_->path(); }
  std::uint64_t bytes() const noexcept { return file_->size(); }
  const std::string& checksum() const noexcept { return checksum_; }
  bool has_metadata(std::string_view key) const { return metadata_.find(key) != metadata_.end(); }
  /// Throws CheckpointError for a key that is not there.
  const std::string& metadata(std::string_view key) const;
  /// Null pointer when there is none.
  const SafetensorsEntry* find(std::string_view name) const;
  const std::vector<SafetensorsEntry>& tensors() const noexcept { return tensors_; }
  /// To be read on demand.
  TensorRef tensor(const SafetensorsEntry& entry) const;

  /// The whole file, from its first byte: mapped read-only and shared with other processes, or read into memory.
  /// Touching a mapping of a file that was cut short meanwhile ends the process with SIGBUS.
  std::shared_ptr<const std::byte> map() const;
  std::shared_ptr<const std::byte> read() const;

  const std::shared_ptr<const FileStorage>& storage() const noexcept { return file_; }

  /// Reads all data and compares checksums. Throws CheckpointError naming the tensor.
  void verify() const;

 private:
  std::shared_ptr<const FileStorage> file_;
  std::vector<SafetensorsEntry> tensors_;
  SafetensorsMetadata metadata_;
  std::string checksum_;
};

}  // namespace moekit
