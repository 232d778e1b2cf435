// SPDX-License-Identifier: Apache-2.0
// What one call in flight needs, kept between calls: as many slots exist as calls ever ran at the same time.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <mutex>
#include <vector>

#include "backend/backend.h"

namespace moekit {

struct Slot {
  std::unique_ptr<Workspace> workspace;
  Buffer ids, weights;  // device memory, [tokens * top_k] int32 and float32: routing that the caller does not ask for
  Buffer input;         // device memory: copy of x where y overlaps it or x is in host memory
  Buffer output, token_ids;     // device memory: forward_host()
  std::vector<std::byte> rows;  // host memory: rows of x or y without the gaps between them
};

class SlotPool {
 public:
  SlotPool(const Backend& backend, const PackedBlock& block, const Device& device)
      : backend_(backend), block_(block), device_(device) {}

  /// A slot for the duration of a scope.
  class Lease {
   public:
    explicit Lease(SlotPool& pool) : pool_(pool), slot_(pool.take()) {}
    ~Lease() { pool_.give_back(std::move(slot_)); }
    Lease(const Lease&) = delete;
    Lease& operator=(const Lease&) = delete;
    Slot* operator->() const noexcept { return slot_.get(); }

   private:
    SlotPool& pool_;
    std::unique_ptr<Slot> slot_;
  };

  /// Grows a buffer of a slot to `bytes`; contents are lost when it grows.
  void grow(Buffer& buffer, std::size_t bytes) const;

 private:
  std::unique_ptr<Slot> take();
  void give_back(std::unique_ptr<Slot> slot) noexcept;

  const Backend& backend_;
  const PackedBlock& block_;
  const Device device_;
  std::mutex mutex_;
  std::vector<std::unique_ptr<Slot>> free_;  // capacity is at least the number of slots that exist
  std::size_t slots_ = 0;
};

}  // namespace moekit
