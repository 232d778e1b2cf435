// SPDX-License-Identifier: Apache-2.0
#include "checkpoint/atomic_file.h"

#include <fcntl.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <system_error>
#include <utility>

#include "checkpoint/text.h"

namespace moekit {
namespace {

constexpr const char* kOperation = "write";

std::string errno_text(int error) { return std::generic_category().message(error); }

// fsync may be interrupted; EINVAL is a file system that has nothing to wait for.
int sync_descriptor(int descriptor) {
  int result = 0;
  do {
    result = ::fsync(descriptor);
  } while (result != 0 && errno == EINTR);
  return result != 0 && errno == EINVAL ? 0 : result;
}

}  // namespace

LockedFolder::LockedFolder(std::string path) : path_(std::move(path)) {
  if (path_.find('\0') != std::string::npos) checkpoint_error(kOperation, path_, "NUL byte in the path");
  created_ = ::mkdir(path_.c_str(), 0777) == 0;
  if (!created_ && errno != EEXIST) checkpoint_error(kOperation, path_, errno_text(errno));
  descriptor_ = ::open(path_.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  if (descriptor_ < 0)
    checkpoint_error(kOperation, path_, errno == ENOTDIR ? "a file, expected a folder or nothing" : errno_text(errno));
  if (::flock(descriptor_, LOCK_EX | LOCK_NB) != 0) {
    const int error = errno;
    ::close(descriptor_);
    checkpoint_error(kOperation, path_,
                     error == EWOULDBLOCK ? "another process is writing into this folder" : errno_text(error));
  }
}

LockedFolder::~LockedFolder() { ::close(descriptor_); }

void LockedFolder::sync() const {
  if (sync_descriptor(descriptor_) != 0) checkpoint_error(kOperation, path_, "fsync: " + errno_text(errno));
}

AtomicFile::AtomicFile(const LockedFolder& folder, const std::string& name, std::uint64_t bytes)
    : folder_(folder),
      final_(folder.path() + "/" + name),
      temporary_(folder.path() + "/" + std::string(kPrefix) + name),
      expected_(bytes) {
  // The lock makes the name ours; O_EXCL keeps a link that someone put there from being followed.
  ::unlink(temporary_.c_str());
  descriptor_ = ::open(temporary_.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0666);
  if (descriptor_ < 0) fail("", errno);
#ifdef __linux__
  // Not posix_fallocate: where the file system cannot, that one writes every block.
  if (bytes != 0 && ::fallocate(descriptor_, FALLOC_FL_KEEP_SIZE, 0, static_cast<off_t>(bytes)) != 0 &&
      (errno == ENOSPC || errno == EDQUOT || errno == EFBIG)) {
    const int error = errno;
    ::close(descriptor_);
    ::unlink(temporary_.c_str());
    fail("reserving the file", error);
  }
#endif
}

AtomicFile::~AtomicFile() {
  if (descriptor_ < 0) return;
  ::close(descriptor_);
  ::unlink(temporary_.c_str());
}

void AtomicFile::write(const void* data, std::size_t bytes) {
  constexpr std::size_t kChunk = std::size_t{1} << 30;  // Linux writes at most 2^31 - 4096 bytes at once
  const auto* at = static_cast<const std::byte*>(data);
  while (bytes > 0) {
    const ssize_t done = ::write(descriptor_, at, std::min(bytes, kChunk));
    if (done < 0 && errno == EINTR) continue;
    if (done < 0) fail("writing", errno);
    at += done;
    bytes -= static_cast<std::size_t>(done);
    written_ += static_cast<std::uint64_t>(done);
  }
}

void AtomicFile::commit() {
  if (sync_descriptor(descriptor_) != 0) fail("fsync", errno);
  const int descriptor = std::exchange(descriptor_, -1);
  const bool closed = ::close(descriptor) == 0 || errno == EINTR;  // NFS tells a full disk here
  if (!closed || ::rename(temporary_.c_str(), final_.c_str()) != 0) {
    const int error = errno;
    ::unlink(temporary_.c_str());
    fail(closed ? "rename" : "close", error);
  }
  folder_.sync();
}

void AtomicFile::fail(const char* what, int error) const {
  checkpoint_error(kOperation, final_,
                   std::string(what) + (*what != '\0' ? ": " : "") + errno_text(error) + ", " +
                       std::to_string(written_) + " of " + std::to_string(expected_) + " bytes written");
}

}  // namespace moekit
