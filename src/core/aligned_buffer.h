// SPDX-License-Identifier: Apache-2.0
// Page-aligned memory for weights and workspaces; large blocks ask for huge pages.
#pragma once

#include <cstddef>
#include <utility>

namespace moekit {

class AlignedBuffer {
 public:
  AlignedBuffer() = default;
  /// Zeroed by the kernel on first touch. Throws std::bad_alloc.
  explicit AlignedBuffer(std::size_t bytes);
  ~AlignedBuffer() { release(); }
  AlignedBuffer(AlignedBuffer&& other) noexcept { swap(other); }
  AlignedBuffer& operator=(AlignedBuffer&& other) noexcept {
    swap(other);
    return *this;
  }
  AlignedBuffer(const AlignedBuffer&) = delete;
  AlignedBuffer& operator=(const AlignedBuffer&) = delete;

  std::byte* data() const noexcept { return data_; }
  std::size_t bytes() const noexcept { return bytes_; }

 private:
  void release() noexcept;
  void swap(AlignedBuffer& other) noexcept {
    std::swap(data_, other.data_);
    std::swap(bytes_, other.bytes_);
    std::swap(mapping_, other.mapping_);
    std::swap(mapped_, other.mapped_);
  }

  std::byte* data_ = nullptr;
  std::size_t bytes_ = 0;
  void* mapping_ = nullptr;
  std::size_t mapped_ = 0;
};

}  // namespace moekit
