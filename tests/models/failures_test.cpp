// SPDX-License-Identifier: Apache-2.0
// Every k-th read and every k-th allocation of loading a layer fails: a typed error, nothing
// leaked, a retry works.
#include <gtest/gtest.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <atomic>
#include <cerrno>
#include <cstdlib>
#include <filesystem>
#include <new>

#include "formats/read.h"
#include "models/tiny_gguf.h"
#include "models/tiny_model.h"
#include "moekit/model.h"

namespace {

std::atomic<long> reads_left{-1};        // -1: reads do not fail
std::atomic<long> allocations_left{-1};  // -1: allocations do not fail
std::atomic<long> read_limit{-1};        // bytes that a read gives at most
std::atomic<long> live_allocations{0};

}  // namespace

// The program's own pread and operator new come before the C library's and the C++ library's.
extern "C" ssize_t pread(int descriptor, void* buffer, size_t count, off_t offset) {
  if (reads_left >= 0 && reads_left-- == 0) {
    errno = EIO;
    return -1;
  }
  if (read_limit > 0) {
    static bool interrupted = false;
    interrupted = !interrupted;
    if (interrupted) {
      errno = EINTR;
      return -1;
    }
    count = std::min(count, static_cast<size_t>(read_limit));
  }
  return static_cast<ssize_t>(::syscall(SYS_pread64, descriptor, buffer, count, offset));
}

void* operator new(std::size_t bytes) {
  if (allocations_left >= 0 && allocations_left-- == 0) throw std::bad_alloc();
  void* memory = std::malloc(bytes != 0 ? bytes : 1);
  if (memory == nullptr) throw std::bad_alloc();
  ++live_allocations;
  return memory;
}
void operator delete(void* memory) noexcept {
  if (memory != nullptr) --live_allocations;
  std::free(memory);
}
void operator delete(void* memory, std::size_t) noexcept { operator delete(memory); }

namespace moekit {
namespace {

long open_descriptors() {
  const std::filesystem::directory_iterator all("/proc/self/fd");
  return std::distance(begin(all), end(all));
}

void load(const std::string& path) {
  const LoadedBlock block = load_block(path, 1);
  ReadScratch scratch;
  for (const ExpertTensors& expert : block.tensors.experts) read_plain(expert.down, scratch);
  EXPECT_EQ(block.tensors.experts.size(), 4u);
}

/// Sets the counter to 0, 1, 2, ... until a load comes through. The count of failures.
template <class Error>
long fail_each(std::atomic<long>& counter, const std::string& path) {
  for (long k = 0;; ++k) {
    const long descriptors = open_descriptors(), allocations = live_allocations;
    bool failed = false;
    counter = k;
    try {
      load(path);
    } catch (const Error&) {
      failed = true;
    }
    counter = -1;
    EXPECT_EQ(open_descriptors(), descriptors) << k;
    EXPECT_EQ(live_allocations, allocations) << k;
    if (!failed) return k;
  }
}

class Failures : public ::testing::Test {
 protected:
  void SetUp() override {
    test::tiny_deepseek_v3().write(folder_);
    paths_ = {folder_.path(), folder_.write("model.gguf", test::TinyGguf().file().bytes())};
    for (const std::string& path : paths_) load(path);  // makes what is made once
  }
  test::TempFolder folder_;
  std::vector<std::string> paths_;  // a folder of safetensors, and a GGUF file
};

TEST_F(Failures, EveryRead) {
  for (const std::string& path : paths_) EXPECT_GT(fail_each<CheckpointError>(reads_left, path), 5) << path;
}

TEST_F(Failures, EveryAllocation) {
  for (const std::string& path : paths_) EXPECT_GT(fail_each<std::bad_alloc>(allocations_left, path), 100) << path;
}

TEST_F(Failures, ShortAndInterruptedReadsAreFinished) {
  for (const std::string& path : paths_)
    for (const long limit : {1L, 7L, 4096L}) {
      read_limit = limit;
      EXPECT_NO_THROW(load(path)) << path << ", " << limit;
      read_limit = -1;
    }
}

}  // namespace
}  // namespace moekit
