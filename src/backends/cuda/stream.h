// SPDX-License-Identifier: Apache-2.0
// Streams: our own, the caller's, and the place of one call on one of them.
#pragma once

#include "backends/cuda/context.h"
#include "moekit/device.h"

namespace moekit::cuda {

/// A stream of a device that does not wait for the legacy default stream.
class OwnStream final : public Stream {
 public:
  explicit OwnStream(const DeviceContext& device);
  ~OwnStream() override;
  void* native() const noexcept override { return handle_; }
  void synchronize() override;

 private:
  const DeviceContext& device_;
  StreamHandle handle_ = nullptr;
};

/// Where a call runs: the context is current, the stream is known to be of the device.
class CallScope {
 public:
  /// `stream` null: the legacy default stream, and finish() waits. Throws std::invalid_argument for a stream of another
  /// device.
  CallScope(const DeviceContext& device, const Stream* stream);
  StreamHandle stream() const noexcept { return handle_; }
  bool synchronous() const noexcept { return synchronous_; }
  /// Whether the stream is being captured into a graph.
  bool capturing() const noexcept { return capturing_; }
  /// Waits where the call is synchronous.
  void finish() const;

 private:
  const DeviceContext& device_;
  ContextScope current_;
  StreamHandle handle_;
  bool synchronous_, capturing_ = false;
};

/// Throws std::invalid_argument "[name] ..." unless `data` is memory of the device.
void check_device_memory(const DeviceContext& device, const void* data, const char* name);

}  // namespace moekit::cuda
