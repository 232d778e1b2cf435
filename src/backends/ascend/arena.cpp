// SPDX-License-Identifier: Apache-2.0
#include "backends/ascend/arena.h"

#include <stdexcept>

#include "backends/ascend/device.h"

namespace moekit::ascend {

void Arena::reserve(std::size_t bytes) {
  if (memory_.bytes() >= bytes) return;
  memory_ = Buffer();  // first, so that both are never held
  memory_ = allocate(bytes, device_);
}

void* Arena::take(std::size_t bytes) {
  const std::size_t at = used_;
  used_ += (bytes + kAlignment - 1) / kAlignment * kAlignment;
  // Any address that is not null: what is counted is not touched.
  if (counting_) return reinterpret_cast<void*>(kAlignment);
  if (used_ > memory_.bytes()) throw std::logic_error("[ascend] a call took more workspace than it counted");
  return static_cast<char*>(memory_.data()) + at;
}

}  // namespace moekit::ascend
