// SPDX-License-Identifier: Apache-2.0
#include "pinned.h"

#include <cstring>

#include "failure.h"
#include "settings.h"

namespace ascend_double {

PinnedMemory& pinned_memory() {
  static PinnedMemory* const instance = new PinnedMemory;
  return *instance;
}

void* PinnedMemory::allocate(size_t bytes) {
  std::unique_ptr<std::byte[]> block(new (std::nothrow) std::byte[bytes]);
  require(block != nullptr, code::kRtOutOfMemory, "no host memory for ", bytes, " bytes");
  std::memset(block.get(), settings().poison(), bytes);
  void* const address = block.get();
  std::lock_guard<std::mutex> lock(mutex_);
  blocks_[address] = std::move(block);
  return address;
}

void PinnedMemory::release(void* address) {
  std::lock_guard<std::mutex> lock(mutex_);
  if (blocks_.erase(address) == 0) {
    violate("foreign pointer", code::kRtParamInvalid, address, " is not a block of aclrtMallocHost");
  }
}

size_t PinnedMemory::live() {
  std::lock_guard<std::mutex> lock(mutex_);
  return blocks_.size();
}

}  // namespace ascend_double
