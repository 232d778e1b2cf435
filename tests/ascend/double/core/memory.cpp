// SPDX-License-Identifier: Apache-2.0
#include "memory.h"

#include <algorithm>
#include <cstring>

#include "failure.h"
#include "settings.h"
#include "touch.h"

namespace ascend_double {

namespace {

constexpr uint64_t kPage = 4096;
// Address space is reserved in pieces of this size: no memory, one entry in the process's map.
constexpr uint64_t kArena = uint64_t{4} << 30;
// aclrtMalloc promises little about addresses; on-chip copies need 64 bytes, so that is kept and nothing more.
constexpr uint64_t kAlignment = 64;

uint64_t round_up(uint64_t value, uint64_t unit) { return (value + unit - 1) / unit * unit; }

}  // namespace

DeviceMemory& device_memory() {
  static DeviceMemory* const instance = new DeviceMemory;
  return *instance;
}

char* DeviceMemory::take_address(uint64_t bytes) {
  const uint64_t needed = round_up(bytes, kPage) + 3 * kPage;  // a guard before, one after, one for the odd start
  if (arenas_.empty() || arenas_.back().end - arenas_.back().next < needed) {
    const uint64_t size = std::max(kArena, round_up(needed, kPage));
    const auto base = reinterpret_cast<uintptr_t>(reserve_untouchable(size, "device memory"));
    arenas_.push_back({base, base + size, base});
  }
  Arena& arena = arenas_.back();
  const uintptr_t start = arena.next + kPage + kAlignment * (blocks_.size() % 8 * 2 + 1);  // 64-byte aligned, not 128
  arena.next += needed;
  return reinterpret_cast<char*>(start);
}

void* DeviceMemory::allocate(int device, uint64_t bytes) {
  require(bytes > 0, code::kRtParamInvalid, "size is 0");
  const uint64_t poison = static_cast<uint64_t>(settings().poison());
  const uint64_t limit = settings().memory_bytes();
  std::lock_guard<std::mutex> lock(mutex_);
  require(bytes <= limit && used_[device] <= limit - bytes, code::kRtOutOfMemory, "out of device memory: ", bytes,
          " bytes asked, ", used_[device], " of ", limit, " in use");
  auto block = std::make_shared<Block>();
  block->storage.reset(new (std::nothrow) std::byte[bytes]);
  require(block->storage != nullptr, code::kRtOutOfMemory, "the host has no ", bytes, " bytes for the double");
  std::memset(block->storage.get(), static_cast<int>(poison), bytes);
  block->address = reinterpret_cast<uintptr_t>(take_address(bytes));
  block->bytes = bytes;
  block->device = device;
  used_[device] += bytes;
  blocks_[block->address] = block;
  return reinterpret_cast<void*>(block->address);
}

std::shared_ptr<Block> DeviceMemory::find_start(const void* address) {
  const auto key = reinterpret_cast<uintptr_t>(address);
  std::lock_guard<std::mutex> lock(mutex_);
  const auto found = blocks_.find(key);
  if (found != blocks_.end()) return found->second;
  if (freed_.count(key) != 0) violate("double free", code::kRtParamInvalid, address, " was freed before");
  violate("foreign pointer", code::kRtParamInvalid, address, " is not the start of a block of aclrtMalloc");
}

void DeviceMemory::release(const std::shared_ptr<Block>& block) {
  const int poison = settings().poison();
  std::lock_guard<std::mutex> lock(mutex_);
  block->live = false;
  std::memset(block->storage.get(), poison, block->bytes);
  used_[block->device] -= block->bytes;
  freed_[block->address] = block->bytes;
  blocks_.erase(block->address);
}

Region DeviceMemory::region(const void* address, uint64_t bytes, bool write, const char* what) {
  const auto key = reinterpret_cast<uintptr_t>(address);
  std::lock_guard<std::mutex> lock(mutex_);
  auto found = blocks_.upper_bound(key);
  if (found != blocks_.begin()) {
    const std::shared_ptr<Block>& block = std::prev(found)->second;
    const uint64_t begin = key - block->address;
    if (begin < block->bytes || (begin == block->bytes && bytes == 0)) {
      if (bytes > block->bytes - begin) {
        violate("out of bounds", code::kRtParamInvalid, what, ": ", bytes, " bytes at offset ", begin,
                " of a block of ", block->bytes, " bytes");
      }
      return {block, begin, begin + bytes, write};
    }
  }
  auto freed = freed_.upper_bound(key);
  if (freed != freed_.begin() && key - std::prev(freed)->first < std::prev(freed)->second) {
    violate("use after free", code::kRtParamInvalid, what, ": ", address, " lies in a block that was freed");
  }
  violate("foreign pointer", code::kRtParamInvalid, what, ": ", address, " is not device memory");
}

void DeviceMemory::check_live(const Region& region, const char* what) {
  std::lock_guard<std::mutex> lock(mutex_);
  if (region.block && !region.block->live) {
    violate("use after free", code::kRtAicoreException, what, " runs on a block that was freed");
  }
}

bool DeviceMemory::is_device(const void* address) {
  const auto key = reinterpret_cast<uintptr_t>(address);
  std::lock_guard<std::mutex> lock(mutex_);
  return std::any_of(arenas_.begin(), arenas_.end(),
                     [key](const Arena& arena) { return key >= arena.begin && key < arena.end; });
}

uint64_t DeviceMemory::used(int device) {
  std::lock_guard<std::mutex> lock(mutex_);
  return used_[device];
}

size_t DeviceMemory::live_blocks(int device) {
  std::lock_guard<std::mutex> lock(mutex_);
  return static_cast<size_t>(std::count_if(blocks_.begin(), blocks_.end(), [device](const auto& entry) {
    return device < 0 || entry.second->device == device;
  }));
}

}  // namespace ascend_double
