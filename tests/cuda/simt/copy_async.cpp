// SPDX-License-Identifier: Apache-2.0
// cp.async of 16 bytes: global to shared memory, complete when the issuing thread has waited for its group and visible
// to others after a barrier behind that.
#include <algorithm>
#include <cstring>

#include "cuda/simt/block.h"
#include "cuda/simt/simt.h"

using simt::Fault;

void copy_async_16(void* shared, const void* global, bool valid) {
  simt::BlockRunner& block = simt::runner();
  if (!block.shared().holds(shared)) block.stop(Fault::kOutOfBounds, "cp.async to memory that is not shared");
  if (reinterpret_cast<std::uintptr_t>(shared) % 16 != 0 ||
      (valid && reinterpret_cast<std::uintptr_t>(global) % 16 != 0))
    block.stop(Fault::kMisaligned, "cp.async of 16 bytes at an address that is not a multiple of 16");
  // As a store of this thread: nobody may still read what was there. What it leaves is not to be read either.
  block.access(shared, 16, true);
  std::memset(block.shared().written + (static_cast<std::byte*>(shared) - block.shared().begin) / 2, 0, 8);
  std::memset(shared, 0xCD, 16);
  if (valid) block.access(global, 16, false);
  simt::Fiber& fiber = block.current();
  fiber.copies.push_back({shared, global, 16, valid ? 16u : 0u, fiber.copy_groups});
}

void copy_async_commit() { ++simt::runner().current().copy_groups; }

void copy_async_wait_groups(unsigned pending) {
  simt::BlockRunner& block = simt::runner();
  simt::Fiber& fiber = block.current();
  const unsigned last = fiber.copy_groups > pending ? fiber.copy_groups - pending : 0;  // groups below are complete
  for (const simt::PendingCopy& copy : fiber.copies) {
    if (copy.group >= last) continue;
    block.access(copy.to, copy.bytes, true);
    std::memcpy(copy.to, copy.from, copy.zero_from);
    std::memset(static_cast<std::byte*>(copy.to) + copy.zero_from, 0, copy.bytes - copy.zero_from);
  }
  fiber.copies.erase(std::remove_if(fiber.copies.begin(), fiber.copies.end(),
                                    [&](const simt::PendingCopy& copy) { return copy.group < last; }),
                     fiber.copies.end());
}
