// SPDX-License-Identifier: Apache-2.0
#include "layer/slot_pool.h"

#include <utility>

namespace moekit {

std::unique_ptr<Slot> SlotPool::take() {
  {
    const std::lock_guard<std::mutex> lock(mutex_);
    if (!free_.empty()) {
      std::unique_ptr<Slot> slot = std::move(free_.back());
      free_.pop_back();
      return slot;
    }
    // Room for the slot's return is made now, so that giving back never allocates.
    free_.reserve(slots_ + 1);
    ++slots_;
  }
  try {
    auto slot = std::make_unique<Slot>();
    slot->workspace = backend_.new_workspace(block_);
    return slot;
  } catch (...) {
    const std::lock_guard<std::mutex> lock(mutex_);
    --slots_;
    throw;
  }
}

void SlotPool::give_back(std::unique_ptr<Slot> slot) noexcept {
  const std::lock_guard<std::mutex> lock(mutex_);
  free_.push_back(std::move(slot));
}

void SlotPool::grow(Buffer& buffer, std::size_t bytes) const {
  if (buffer.bytes() < bytes) buffer = backend_.allocate(bytes, device_);
}

}  // namespace moekit
