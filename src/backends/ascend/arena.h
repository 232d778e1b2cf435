// SPDX-License-Identifier: Apache-2.0
// Device memory of one call: blocks handed out one after the other from one allocation. A call is first walked through
// without launching anything, which gives its size; so a warm workspace allocates nothing.
#pragma once

#include <cstddef>

#include "moekit/device.h"

namespace moekit::ascend {

/// Copies on the device want both addresses aligned to 64 bytes; full cache lines of the chip are 512.
constexpr std::size_t kCopyAlignment = 64;
constexpr std::size_t kAlignment = 512;

class Arena {
 public:
  explicit Arena(int device) : device_(device) {}

  /// Forgets all blocks. `counting`: the following blocks have no memory, only used() matters.
  void begin(bool counting) noexcept {
    used_ = 0;
    counting_ = counting;
  }
  bool counting() const noexcept { return counting_; }
  std::size_t used() const noexcept { return used_; }
  void* data() const noexcept { return memory_.data(); }
  std::size_t bytes() const noexcept { return memory_.bytes(); }
  /// Contents and addresses are lost when it grows; nothing on the device may still use them.
  void reserve(std::size_t bytes);
  /// Throws std::logic_error when more is asked for than was counted.
  void* take(std::size_t bytes);

 private:
  int device_;
  Buffer memory_;
  std::size_t used_ = 0;
  bool counting_ = true;
};

}  // namespace moekit::ascend
