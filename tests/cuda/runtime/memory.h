// SPDX-License-Identifier: Apache-2.0
// Memory of the pretended devices. Each allocation is a mapping of its own that no one can touch until a device
// operation runs; guard pages lie on both sides, guard bytes fill the rest of its pages, and an address is never used
// again: a host that reads device memory, an overrun and a use after free all stop the process with a message.
#pragma once

#include <cstddef>
#include <cstdint>
#include <map>
#include <string>

namespace moekit::standin {

constexpr int kHost = -1;  // the "device" of pinned host memory: always open

struct Allocation {
  std::byte* mapping = nullptr;  // guard, pages, guard
  std::size_t mapping_bytes = 0;
  std::byte* pages = nullptr;
  std::size_t page_bytes = 0;
  std::byte* data = nullptr;  // at the end of the pages, 256 bytes aligned
  std::size_t bytes = 0;
  int device = 0;
  std::uint64_t number = 0;  // counted from 1
  bool live = true;
};

class Memory {
 public:
  /// Null when the system has no memory left. New device memory is filled with 0xFF: not-a-number in every floating
  /// type, -1 in every integer type, so that what was read before it was written shows.
  std::byte* allocate(int device, std::size_t bytes);
  bool release(std::byte* data);  // false: not the start of a live allocation
  /// The live allocation that holds the byte, or null.
  const Allocation* find(const void* pointer) const;
  /// Whether [pointer, pointer + bytes) lies within one live allocation of this device.
  bool holds(const void* pointer, std::size_t bytes, int device) const;
  /// Makes the memory of a device accessible, or closes it again.
  void open(int device);
  void close(int device);
  /// Looks at the guard bytes of a device that is open; empty, or which was written, and mends it.
  std::string check_guards(int device);
  /// "12 bytes after allocation 3 (256 bytes on device 0)" for an address in or near an allocation, live or released.
  std::string describe(const void* pointer) const;
  std::size_t live_bytes(int device) const;
  std::size_t live_allocations() const;

 private:
  using Map = std::map<std::uintptr_t, Allocation>;  // by address of the mapping
  Map live_;
  Map released_;  // never shrinks: what a stale pointer points to can be told
  std::uint64_t count_ = 0;
};

/// Installs the handler that explains faults in device memory. `doing` tells what runs on the device, null when
/// nothing.
void install_fault_handler(const Memory* memory, const char* (*doing)());

}  // namespace moekit::standin
