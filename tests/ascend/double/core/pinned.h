// SPDX-License-Identifier: Apache-2.0
// Host memory of aclrtMallocHost: real memory, known by its address.
#pragma once

#include <cstddef>
#include <map>
#include <memory>
#include <mutex>

namespace ascend_double {

class PinnedMemory {
 public:
  void* allocate(size_t bytes);
  void release(void* address);  // a violation for a foreign address
  size_t live();

 private:
  std::mutex mutex_;
  std::map<void*, std::unique_ptr<std::byte[]>> blocks_;
};

PinnedMemory& pinned_memory();

}  // namespace ascend_double
