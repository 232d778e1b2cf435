// SPDX-License-Identifier: Apache-2.0
// The entry points that -fsanitize=thread puts before loads and stores of the kernels' code. The sanitizer's own
// runtime is not linked: these take its place, and lead to the checker.
#include "cuda/simt/block.h"

namespace {

void access(const void* address, std::size_t bytes, bool write) {
  if (simt::in_kernel()) simt::runner().access(address, bytes, write);
}

// An access that the compiler could not prove to be aligned still has the size of its type.
#define MOEKIT_SIMT_ENTRY(bytes)                                                      \
  void __tsan_read##bytes(void* address) { access(address, bytes, false); }           \
  void __tsan_write##bytes(void* address) { access(address, bytes, true); }           \
  void __tsan_volatile_read##bytes(void* address) { access(address, bytes, false); }  \
  void __tsan_volatile_write##bytes(void* address) { access(address, bytes, true); }  \
  void __tsan_unaligned_read##bytes(void* address) { access(address, bytes, false); } \
  void __tsan_unaligned_write##bytes(void* address) { access(address, bytes, true); }

// A range has no element size; word by word it is aligned to two bytes at least.
void range(const void* address, std::size_t bytes, bool write) {
  const auto* at = static_cast<const std::byte*>(address);
  for (; bytes >= 2; at += 2, bytes -= 2) access(at, 2, write);
  if (bytes != 0) access(at, 1, write);
}

}  // namespace

extern "C" {
MOEKIT_SIMT_ENTRY(1)
MOEKIT_SIMT_ENTRY(2)
MOEKIT_SIMT_ENTRY(4)
MOEKIT_SIMT_ENTRY(8)
MOEKIT_SIMT_ENTRY(16)
void __tsan_read_range(void* address, unsigned long bytes) { range(address, bytes, false); }
void __tsan_write_range(void* address, unsigned long bytes) { range(address, bytes, true); }
void __tsan_vptr_update(void**, void*) {}
void __tsan_vptr_read(void**) {}
void __tsan_func_entry(void*) {}
void __tsan_func_exit() {}
void __tsan_init() {}
}
