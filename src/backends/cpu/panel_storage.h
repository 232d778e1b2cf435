// SPDX-License-Identifier: Apache-2.0
// Packed weights: memory of their own, or a view of a mapped file that other processes share.
#pragma once

#include <cstddef>
#include <memory>
#include <utility>

#include "core/aligned_buffer.h"

namespace moekit::cpu {

class PanelStorage {
 public:
  PanelStorage() = default;
  /// Memory of its own, zero. Throws std::bad_alloc.
  explicit PanelStorage(std::size_t bytes) : bytes_(bytes) {
    auto buffer = std::make_shared<AlignedBuffer>(bytes);
    writable_ = buffer->data();
    data_ = {std::move(buffer), writable_};
  }
  /// A view of `bytes` bytes that the pointer keeps alive.
  PanelStorage(std::shared_ptr<const std::byte> data, std::size_t bytes) : data_(std::move(data)), bytes_(bytes) {}

  const std::byte* data() const noexcept { return data_.get(); }
  /// Null for a view.
  std::byte* writable() const noexcept { return writable_; }
  std::size_t bytes() const noexcept { return bytes_; }

 private:
  std::shared_ptr<const std::byte> data_;
  std::byte* writable_ = nullptr;
  std::size_t bytes_ = 0;
};

}  // namespace moekit::cpu
