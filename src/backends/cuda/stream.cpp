// SPDX-License-Identifier: Apache-2.0
#include "backends/cuda/stream.h"

#include <stdexcept>

namespace moekit::cuda {
namespace {

constexpr unsigned kMemoryTypeHost = 1;  // CU_MEMORYTYPE_HOST: pinned host memory

[[noreturn]] void fail(const char* name, const std::string& what) {
  throw std::invalid_argument("[" + std::string(name) + "] " + what);
}

}  // namespace

OwnStream::OwnStream(const DeviceContext& device) : device_(device) {
  const ContextScope current(device);
  device.check(device.driver.stream_create(&handle_, kStreamNonBlocking), "cuStreamCreate");
}

OwnStream::~OwnStream() {
  if (device_.driver.context_push(device_.context) != kSuccess) return;
  device_.driver.stream_destroy(handle_);
  Context popped = nullptr;
  device_.driver.context_pop(&popped);
}

void OwnStream::synchronize() {
  const ContextScope current(device_);
  device_.check(device_.driver.stream_synchronize(handle_), "cuStreamSynchronize");
}

CallScope::CallScope(const DeviceContext& device, const Stream* stream)
    : device_(device),
      current_(device),
      handle_(stream != nullptr ? static_cast<StreamHandle>(stream->native()) : nullptr),
      synchronous_(stream == nullptr) {
  if (handle_ == nullptr) return;  // the legacy default stream is that of the current context, and is never captured
  Context owner = nullptr;
  device.check(device.driver.stream_context(handle_, &owner), "cuStreamGetCtx");
  if (owner != device.context) fail("stream", "belongs to another device than cuda:" + std::to_string(device.ordinal));
  int status = kCaptureStatusNone;
  device.check(device.driver.stream_is_capturing(handle_, &status), "cuStreamIsCapturing");
  capturing_ = status != kCaptureStatusNone;
}

void CallScope::finish() const {
  if (synchronous_) device_.check(device_.driver.stream_synchronize(handle_), "cuStreamSynchronize");
}

void check_device_memory(const DeviceContext& device, const void* data, const char* name) {
  unsigned type = 0;
  int ordinal = -1;
  // An address that the driver does not know is the host's.
  if (device.driver.pointer_attribute(&type, kPointerMemoryType, device_pointer(data)) != kSuccess ||
      type == kMemoryTypeHost)
    fail(name, "is memory of the host, expected memory of cuda:" + std::to_string(device.ordinal));
  device.check(device.driver.pointer_attribute(&ordinal, kPointerDeviceOrdinal, device_pointer(data)),
               "cuPointerGetAttribute");
  if (ordinal != device.ordinal)
    fail(name, "is memory of cuda:" + std::to_string(ordinal) + ", expected cuda:" + std::to_string(device.ordinal));
}

}  // namespace moekit::cuda
