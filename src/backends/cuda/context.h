// SPDX-License-Identifier: Apache-2.0
// A device as the backend uses it: its primary context, and the kernels.
#pragma once

#include <array>
#include <memory>
#include <string>

#include "backends/cuda/driver_api.h"
#include "backends/cuda/kernels.h"

namespace moekit::cuda {

enum class KernelId : int {
#define MOEKIT_CUDA_ID(name, Params) name,
  MOEKIT_CUDA_KERNELS(MOEKIT_CUDA_ID)
#undef MOEKIT_CUDA_ID
      kCount
};

class DeviceContext {
 public:
  const DriverApi& driver;
  const int ordinal;
  const DeviceOrdinal device;
  const Context context;

  /// Launches a kernel on `stream`. Throws DeviceError naming it. An empty grid is no launch.
  template <class Params>
  void launch(KernelId kernel, unsigned grid_x, unsigned grid_y, unsigned threads, unsigned shared_bytes,
              StreamHandle stream, Params params) const {
    launch(kernel, grid_x, grid_y, threads, shared_bytes, stream, static_cast<void*>(&params));
  }
  void check(Result result, const char* call, const std::string& detail = "") const {
    cuda::check(driver, result, call, detail);
  }

  /// The device's context, made on first use and kept for the process. Throws DeviceError: no driver, no such device,
  /// an architecture without kernels.
  static const DeviceContext& of(int ordinal);

 private:
  DeviceContext(const DriverApi& api, int index);
  void launch(KernelId kernel, unsigned grid_x, unsigned grid_y, unsigned threads, unsigned shared_bytes,
              StreamHandle stream, void* params) const;
};

/// Why no device can be used here; empty where one can.
std::string unusable_reason();

/// Makes the context current for a scope.
class ContextScope {
 public:
  explicit ContextScope(const DeviceContext& device) : device_(device) {
    device.check(device.driver.context_push(device.context), "cuCtxPushCurrent");
  }
  ~ContextScope() {
    Context popped = nullptr;
    device_.driver.context_pop(&popped);
  }
  ContextScope(const ContextScope&) = delete;
  ContextScope& operator=(const ContextScope&) = delete;

 private:
  const DeviceContext& device_;
};

/// Device memory, freed at the end. At least 256-byte aligned, as cuMemAlloc gives it.
class DeviceMemory {
 public:
  DeviceMemory() = default;
  /// Throws DeviceError; nothing is allocated for 0 bytes.
  DeviceMemory(const DeviceContext& device, std::size_t bytes, const char* purpose);
  ~DeviceMemory();
  DeviceMemory(DeviceMemory&& other) noexcept;
  DeviceMemory& operator=(DeviceMemory&& other) noexcept;

  std::byte* data() const noexcept { return reinterpret_cast<std::byte*>(pointer_); }
  std::size_t bytes() const noexcept { return bytes_; }
  explicit operator bool() const noexcept { return bytes_ != 0; }

 private:
  const DeviceContext* device_ = nullptr;
  DevicePointer pointer_ = 0;
  std::size_t bytes_ = 0;
};

inline DevicePointer device_pointer(const void* pointer) noexcept {
  return static_cast<DevicePointer>(reinterpret_cast<std::uintptr_t>(pointer));
}

}  // namespace moekit::cuda
