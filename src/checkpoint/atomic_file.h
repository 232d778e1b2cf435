// SPDX-License-Identifier: Apache-2.0
// Files that appear whole or not at all, and folders that one writer has at a time.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

namespace moekit {

/// A folder that this object alone may write while it lives: an advisory lock on the folder itself, which the kernel
/// gives back when the process ends in whatever way.
class LockedFolder {
 public:
  /// Makes the folder if it does not exist (the one above must). Throws CheckpointError when it cannot be made or
  /// opened, is no folder, or another writer has it.
  explicit LockedFolder(std::string path);
  ~LockedFolder();
  LockedFolder(const LockedFolder&) = delete;
  LockedFolder& operator=(const LockedFolder&) = delete;

  const std::string& path() const noexcept { return path_; }
  bool created() const noexcept { return created_; }
  /// Makes renames and removals in the folder last. Throws CheckpointError.
  void sync() const;

 private:
  std::string path_;
  int descriptor_ = -1;
  bool created_ = false;
};

/// Written under a name of its own in the folder, and renamed over the final name once it is on the disk.
class AtomicFile {
 public:
  /// The names of unfinished files begin so; what a killed writer left behind is known by it.
  static constexpr std::string_view kPrefix = ".moekit-unfinished-";

  /// `bytes` of disk are reserved where the file system can. Throws CheckpointError, as all of it does, with the
  /// system's reason: disk full, no permission, file too large.
  AtomicFile(const LockedFolder& folder, const std::string& name, std::uint64_t bytes);
  ~AtomicFile();  // removes the file unless it was committed
  AtomicFile(const AtomicFile&) = delete;
  AtomicFile& operator=(const AtomicFile&) = delete;

  void write(const void* data, std::size_t bytes);
  /// After this the file is on the disk under its final name, in place of any file of that name.
  void commit();

 private:
  [[noreturn]] void fail(const char* what, int error) const;

  const LockedFolder& folder_;
  std::string final_, temporary_;
  std::uint64_t written_ = 0, expected_ = 0;
  int descriptor_ = -1;
};

}  // namespace moekit
