// SPDX-License-Identifier: Apache-2.0
#include "backends/ascend/workspace.h"

namespace moekit::ascend {

AscendWorkspace::~AscendWorkspace() {
  try {
    const DeviceScope scope(device_);
    // Work of the caller's stream may still use the memory.
    if (last_stream_ != nullptr) last_->synchronize();
    last_.reset();
    stream_.reset();
    memory_.reset();
    of_graphs_.clear();
  } catch (...) {  // the device went away, and the memory with it
  }
}

AclStream AscendWorkspace::own_stream() {
  if (stream_ == nullptr) stream_ = std::make_unique<AscendStream>(device_);
  return stream_->native();
}

void AscendWorkspace::begin(AclStream stream, bool capturing) {
  if (last_stream_ == nullptr || last_stream_ == stream) return;
  capturing ? last_->synchronize() : last_->hold(stream);
}

void AscendWorkspace::end(AclStream stream) {
  if (last_ == nullptr) last_ = std::make_unique<Event>();
  last_->record(stream);
  last_stream_ = stream;
}

void AscendWorkspace::leave_to_graph() {
  of_graphs_.push_back(std::move(memory_));
  memory_ = std::make_unique<CallMemory>(device_);
  last_stream_ = nullptr;
}

}  // namespace moekit::ascend
