// SPDX-License-Identifier: Apache-2.0
// Devices, device memory and streams as the user of a layer sees them.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <string_view>

namespace moekit {

enum class DeviceKind : std::uint8_t { kCpu, kCuda, kAscend };

struct Device {
  DeviceKind kind = DeviceKind::kCpu;
  int index = 0;
  friend bool operator==(const Device& a, const Device& b) { return a.kind == b.kind && a.index == b.index; }
};

/// Parses "cpu", "cuda", "cuda:1", "ascend:0" ("npu" is an alias of "ascend"). Throws std::invalid_argument otherwise.
Device parse_device(std::string_view text);
std::string to_string(const Device& device);

/// Owned memory of a device; the deleter knows how to give it back.
class Buffer {
 public:
  Buffer() = default;
  Buffer(void* data, std::size_t bytes, std::function<void(void*)> release)
      : data_(data, std::move(release)), bytes_(bytes) {}
  void* data() const noexcept { return data_.get(); }
  std::size_t bytes() const noexcept { return bytes_; }

 private:
  std::shared_ptr<void> data_;
  std::size_t bytes_ = 0;
};

/// An ordered queue of a device. On the CPU work is done when the call returns and the stream is empty.
/// Asynchronous errors surface from synchronize(), or from the next call on the stream, as DeviceError.
class Stream {
 public:
  virtual ~Stream() = default;
  /// The native handle (cudaStream_t, aclrtStream), null on the CPU.
  virtual void* native() const noexcept { return nullptr; }
  virtual void synchronize() {}
};

}  // namespace moekit
