// SPDX-License-Identifier: Apache-2.0
#include "core/aligned_buffer.h"

#include <sys/mman.h>

#include <cstdint>
#include <limits>
#include <new>

namespace moekit {
namespace {

// The huge page of x86-64 and of Arm with 4 KiB base pages. Panels are streamed, so TLB reach is bandwidth.
constexpr std::size_t kHugePage = std::size_t{2} << 20;
constexpr std::size_t kPage = 4096;

}  // namespace

AlignedBuffer::AlignedBuffer(std::size_t bytes) : bytes_(bytes) {
  if (bytes == 0) return;
  if (bytes > std::numeric_limits<std::size_t>::max() - 2 * kHugePage) throw std::bad_alloc();
  const std::size_t alignment = bytes >= kHugePage ? kHugePage : kPage;
  mapped_ = bytes + alignment;
  mapping_ = mmap(nullptr, mapped_, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (mapping_ == MAP_FAILED) {
    mapping_ = nullptr;
    throw std::bad_alloc();
  }
  const auto address = reinterpret_cast<std::uintptr_t>(mapping_);
  data_ = reinterpret_cast<std::byte*>((address + alignment - 1) / alignment * alignment);
#ifdef MADV_HUGEPAGE
  if (alignment == kHugePage) madvise(data_, bytes, MADV_HUGEPAGE);
#endif
}

void AlignedBuffer::release() noexcept {
  if (mapping_ != nullptr) munmap(mapping_, mapped_);
}

}  // namespace moekit
