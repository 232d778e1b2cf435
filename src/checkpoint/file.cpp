// SPDX-License-Identifier: Apache-2.0
#include "checkpoint/file.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <filesystem>
#include <system_error>
#include <utility>

#include "checkpoint/text.h"

namespace moekit {
namespace {

namespace fs = std::filesystem;
constexpr const char* kOperation = "open checkpoint";

std::string errno_text(int error) { return std::generic_category().message(error); }

const char* kind_of(mode_t mode) {
  if (S_ISDIR(mode)) return "a folder";
  if (S_ISFIFO(mode)) return "a FIFO";
  if (S_ISSOCK(mode)) return "a socket";
  return "a device";
}

void expect_regular(const std::string& path, mode_t mode) {
  if (!S_ISREG(mode)) checkpoint_error(kOperation, path, std::string(kind_of(mode)) + ", expected a regular file");
}

bool is_inside(const fs::path& path, const fs::path& folder) {
  const auto differ = std::mismatch(folder.begin(), folder.end(), path.begin(), path.end());
  return differ.first == folder.end() && differ.second != path.end();
}

fs::path resolve(const fs::path& path) {
  std::error_code error;
  fs::path result = fs::canonical(path, error);
  if (error) checkpoint_error(kOperation, path.string(), error.message());
  return result;
}

}  // namespace

std::shared_ptr<const FileStorage> FileStorage::open(const std::string& path) {
  // A path holding NUL would be cut by the system calls and name another file.
  if (path.find('\0') != std::string::npos) checkpoint_error(kOperation, path, "NUL byte in the path");
  const std::shared_ptr<FileStorage> file(new FileStorage(path));
  // stat first: opening a device can act on it.
  struct stat status {};
  if (::stat(path.c_str(), &status) != 0) checkpoint_error(kOperation, path, errno_text(errno));
  expect_regular(path, status.st_mode);
  // O_NONBLOCK: should the path turn into a FIFO in between, open must not wait for a writer.
  file->descriptor_ = ::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK);
  if (file->descriptor_ < 0) checkpoint_error(kOperation, path, errno_text(errno));
  if (::fstat(file->descriptor_, &status) != 0) checkpoint_error(kOperation, path, errno_text(errno));
  expect_regular(path, status.st_mode);
  file->size_ = static_cast<std::uint64_t>(status.st_size);
  return file;
}

FileStorage::~FileStorage() {
  if (map_ != nullptr) ::munmap(const_cast<std::byte*>(map_), static_cast<std::size_t>(size_));
  if (descriptor_ >= 0) ::close(descriptor_);
}

const std::byte* FileStorage::read(std::size_t offset, std::size_t bytes, ByteScratch& scratch) const {
  if (offset > size_ || bytes > size_ - offset)
    checkpoint_error(
        "read", path_,
        "bytes " + std::to_string(offset) + " + " + std::to_string(bytes) + " of a file of " + std::to_string(size_));
  // It only grows: what a vector makes anew it writes.
  if (scratch.size() < std::max<std::size_t>(bytes, 1)) scratch.resize(std::max<std::size_t>(bytes, 1));
  read_into(offset, bytes, scratch.data());
  return scratch.data();
}

void FileStorage::read_into(std::uint64_t offset, std::size_t bytes, void* out) const {
  constexpr std::size_t kChunk = std::size_t{1} << 30;  // Linux reads at most 2^31 - 4096 bytes at once
  auto* target = static_cast<std::byte*>(out);
  while (bytes > 0) {
    const ssize_t got = ::pread(descriptor_, target, std::min(bytes, kChunk), static_cast<off_t>(offset));
    if (got < 0 && errno == EINTR) continue;
    if (got < 0) checkpoint_error("read", path_, errno_text(errno) + " at byte " + std::to_string(offset));
    if (got == 0)
      checkpoint_error("read", path_,
                       "ends at byte " + std::to_string(offset) + ", shorter than when it was opened (" +
                           std::to_string(size_) + " bytes)");
    target += got;
    offset += static_cast<std::uint64_t>(got);
    bytes -= static_cast<std::size_t>(got);
  }
}

const std::byte* FileStorage::map() const {
  const std::lock_guard<std::mutex> lock(map_mutex_);
  if (map_ == nullptr) {
    void* address = ::mmap(nullptr, static_cast<std::size_t>(size_), PROT_READ, MAP_SHARED, descriptor_, 0);
    if (address == MAP_FAILED) checkpoint_error("map", path_, errno_text(errno));
    map_ = static_cast<const std::byte*>(address);
  }
  return map_;
}

void FileStorage::will_need(std::uint64_t offset, std::size_t bytes) const noexcept {
  ::posix_fadvise(descriptor_, static_cast<off_t>(offset), static_cast<off_t>(bytes), POSIX_FADV_WILLNEED);
}

std::string file_in_folder(const std::string& folder, const std::string& name) {
  const fs::path relative(name);
  bool plain = !name.empty() && name.find('\0') == std::string::npos && relative.is_relative();
  for (const fs::path& part : relative) plain = plain && part != ".." && part != "." && !part.empty();
  if (!plain)
    checkpoint_error(kOperation, folder, "file name " + in_quotes(name) + " is not a plain path in the folder");
  const fs::path path = fs::path(folder) / relative;
  const fs::path root = resolve(folder);
  const fs::path target = resolve(path);
  const bool hub_blob = root.parent_path().filename() == "snapshots" &&
                        target.parent_path() == root.parent_path().parent_path() / "blobs";
  if (!is_inside(target, root) && !hub_blob)
    checkpoint_error(kOperation, path.string(),
                     "link leads out of the folder, to " + in_quotes(target.string()) +
                         "; only a hub cache's own ../../blobs may be linked");
  return path.string();
}

std::string checkpoint_folder(const std::string& path) {
  // Said here, else the folder above would be blamed. A NUL byte in the path is left to the opening of the file.
  std::error_code missing;
  if (path.find('\0') == std::string::npos && fs::symlink_status(path, missing).type() == fs::file_type::not_found)
    checkpoint_error("open checkpoint", path, "No such file or directory");
  std::error_code error;
  if (fs::is_directory(path, error)) return path;
  const std::string parent = fs::path(path).parent_path().string();
  return parent.empty() ? "." : parent;
}

std::string read_text(const std::string& path, std::uint64_t limit) {
  const auto file = FileStorage::open(path);
  if (file->size() > limit)
    checkpoint_error(kOperation, path, std::to_string(file->size()) + " bytes, the limit is " + std::to_string(limit));
  std::string text(static_cast<std::size_t>(file->size()), '\0');
  file->read_into(0, text.size(), text.data());
  return text;
}

}  // namespace moekit
