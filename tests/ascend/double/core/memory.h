// SPDX-License-Identifier: Apache-2.0
// Device memory. The address that the host gets lies in address space that nobody may touch (PROT_NONE, guard pages on
// both sides), so the host crashes on the first load or store; the bytes themselves lie elsewhere, where the double's
// own copies and kernels reach them through region(). Addresses are never given twice.
#pragma once

#include <cstddef>
#include <cstdint>
#include <map>
#include <memory>
#include <mutex>
#include <vector>

namespace ascend_double {

struct Access {  // who touched which part of a block; see order.h
  uint64_t begin, end;
  uint32_t stream;
  uint64_t count;
  bool write;
  const char* what;
};

struct Block {
  uintptr_t address;
  uint64_t bytes;
  int device;
  std::unique_ptr<std::byte[]> storage;
  bool live = true;              // guarded by DeviceMemory
  std::vector<Access> accesses;  // guarded by Order
};

// A part of a live block, which keeps the block's bytes alive while queued work holds it.
struct Region {
  std::shared_ptr<Block> block;
  uint64_t begin = 0;
  uint64_t end = 0;
  bool write = false;

  std::byte* data() const { return block ? block->storage.get() + begin : nullptr; }
};

class DeviceMemory {
 public:
  // Throws Failure{kRtOutOfMemory} beyond the device's memory.
  void* allocate(int device, uint64_t bytes);
  // The block that starts at the address; a violation for anything else. It is poisoned and dead afterwards.
  std::shared_ptr<Block> find_start(const void* address);
  void release(const std::shared_ptr<Block>& block);
  // [address, address + bytes) inside one live block, or a violation naming `what`.
  Region region(const void* address, uint64_t bytes, bool write, const char* what);
  // Whether queued work may still use the block.
  void check_live(const Region& region, const char* what);
  // Any address that was ever handed out as device memory, and the guards around it.
  bool is_device(const void* address);

  uint64_t used(int device);
  size_t live_blocks(int device = -1);

 private:
  char* take_address(uint64_t bytes);

  std::mutex mutex_;
  struct Arena {
    uintptr_t begin, end, next;
  };
  std::vector<Arena> arenas_;
  std::map<uintptr_t, std::shared_ptr<Block>> blocks_;
  std::map<uintptr_t, uint64_t> freed_;
  std::map<int, uint64_t> used_;
};

DeviceMemory& device_memory();

}  // namespace ascend_double
