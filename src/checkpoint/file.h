// SPDX-License-Identifier: Apache-2.0
// Files of a checkpoint: opened once, checked to be regular, read with pread, mapped only when asked.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <mutex>
#include <string>
#include <utility>

#include "moekit/tensor.h"

namespace moekit {

/// A regular file kept open while any of its tensors lives. Reads are pread, so a file that is cut short after it was
/// opened gives CheckpointError and never SIGBUS. Thread-safe.
class FileStorage final : public Storage {
 public:
  /// Throws CheckpointError when the file does not exist, cannot be read or is no regular file (FIFO, device, folder).
  static std::shared_ptr<const FileStorage> open(const std::string& path);
  ~FileStorage() override;
  FileStorage(const FileStorage&) = delete;
  FileStorage& operator=(const FileStorage&) = delete;

  const std::string& path() const noexcept { return path_; }
  std::uint64_t size() const noexcept { return size_; }  // when it was opened

  const std::byte* read(std::size_t offset, std::size_t bytes, ByteScratch& scratch) const override;
  /// Fills `out`. Throws CheckpointError when the range passes the end.
  void read_into(std::uint64_t offset, std::size_t bytes, void* out) const;
  /// The whole file, mapped read-only at the first call and until the storage dies.
  const std::byte* map() const;
  /// Asks the system to read a range ahead.
  void will_need(std::uint64_t offset, std::size_t bytes) const noexcept;

 private:
  explicit FileStorage(std::string path) : path_(std::move(path)) {}

  std::string path_;
  int descriptor_ = -1;
  std::uint64_t size_ = 0;
  mutable std::mutex map_mutex_;
  mutable const std::byte* map_ = nullptr;
};

/// The path of a file that belongs to a checkpoint folder. `name` is relative and has no "..", and its links lead
/// to a place in the folder or, in a hub cache (models--x/snapshots/y), to the cache's own models--x/blobs.
/// Throws CheckpointError otherwise, and when the file does not exist.
std::string file_in_folder(const std::string& folder, const std::string& name);

/// The folder that a checkpoint's path names: itself, or the one that holds the file.
std::string checkpoint_folder(const std::string& path);

/// All of a text file. Throws CheckpointError when it is longer than `limit` bytes.
std::string read_text(const std::string& path, std::uint64_t limit);

}  // namespace moekit
