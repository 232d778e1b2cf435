// SPDX-License-Identifier: Apache-2.0
// The current device of a thread, device memory, streams and events.
#pragma once

#include <memory>

#include "backends/ascend/api.h"
#include "moekit/device.h"

namespace moekit::ascend {

/// Makes a device the calling thread's for a scope and then restores the one before. Throws DeviceError.
class DeviceScope {
 public:
  explicit DeviceScope(int index);
  ~DeviceScope();
  DeviceScope(const DeviceScope&) = delete;
  DeviceScope& operator=(const DeviceScope&) = delete;

 private:
  std::int32_t before_ = -1;  // -1: none, or the same
};

/// Device memory, given back when the last copy of the Buffer goes. Throws DeviceError naming size and device.
Buffer allocate(std::size_t bytes, int device);

/// The device of memory that allocate() gave, -1 for any other.
int device_of(const void* memory);

/// Copies and returns when done. Work on streams is not waited for.
void copy_now(void* target, const void* source, std::size_t bytes, AclCopy kind);

class AscendStream final : public Stream {
 public:
  explicit AscendStream(int device);
  ~AscendStream() override;
  void* native() const noexcept override { return stream_; }
  void synchronize() override;

 private:
  int device_;
  AclStream stream_ = nullptr;
};

class Event {
 public:
  Event() { check(api().rt.aclrtCreateEvent(&event_), "aclrtCreateEvent"); }
  ~Event() { api().rt.aclrtDestroyEvent(event_); }
  Event(const Event&) = delete;
  Event& operator=(const Event&) = delete;
  void record(AclStream stream) { check(api().rt.aclrtRecordEvent(event_, stream), "aclrtRecordEvent"); }
  /// Makes later work of `stream` wait for what the event recorded.
  void hold(AclStream stream) { check(api().rt.aclrtStreamWaitEvent(stream, event_), "aclrtStreamWaitEvent"); }
  void synchronize() { check(api().rt.aclrtSynchronizeEvent(event_), "aclrtSynchronizeEvent"); }

 private:
  AclEvent event_ = nullptr;
};

/// Whether work given to the stream is recorded into a graph instead of run.
bool is_capturing(AclStream stream);

}  // namespace moekit::ascend
