// SPDX-License-Identifier: Apache-2.0
#include "cuda/kit/device_runner.h"

#include <cuda/simt/launch.h>

#include <cstring>
#include <map>
#include <memory>
#include <new>

#include "backends/cuda/context.h"
#include "cuda/kit/kit_kernels.h"

extern "C" const unsigned char moekit_fatbin_kit_kernels[];

#define X(name, Params) extern "C" const simt::KernelInfo name##_twin;
MOEKIT_KIT_KERNELS(X)
#undef X

namespace moekit::kit {
namespace {

using namespace moekit::cuda;

class DeviceRunner final : public Runner {
 public:
  DeviceRunner() : device_(DeviceContext::of(0)) {
    const ContextScope current(device_);
    device_.check(
        device_.driver.library_load(&library_, moekit_fatbin_kit_kernels, nullptr, nullptr, 0, nullptr, nullptr, 0),
        "cuLibraryLoadData");
  }

  Words run(const Launch& launch, const std::vector<Words>& inputs, std::size_t out_words, Fill fill,
            const void* more) override {
    const ContextScope current(device_);
    const DriverApi& driver = device_.driver;
    std::vector<DeviceMemory> memory;
    std::vector<void*> addresses;
    for (const Words& words : inputs) {
      memory.emplace_back(device_, words.size() * 4, "an input");
      addresses.push_back(memory.back().data());
      device_.check(driver.copy_to_device(device_pointer(addresses.back()), words.data(), words.size() * 4, nullptr),
                    "cuMemcpyHtoDAsync");
    }
    const DeviceMemory out(device_, out_words * 4, "the output");
    device_.check(driver.memory_set(device_pointer(out.data()), 0xCD, out.bytes(), nullptr), "cuMemsetD8Async");
    std::vector<std::byte> params = fill(addresses, out.data(), more);
    Kernel kernel = nullptr;
    device_.check(driver.library_kernel(&kernel, library_, launch.kernel), "cuLibraryGetKernel", launch.kernel);
    void* list[] = {params.data()};
    device_.check(
        driver.launch(kernel, launch.grid, 1, 1, launch.threads, 1, 1, launch.shared_bytes, nullptr, list, nullptr),
        "cuLaunchKernel", launch.kernel);
    Words result(out_words);
    device_.check(driver.copy_to_host(result.data(), device_pointer(out.data()), out.bytes(), nullptr),
                  "cuMemcpyDtoHAsync");
    device_.check(driver.stream_synchronize(nullptr), "cuStreamSynchronize");
    return result;
  }

  const DeviceContext& device() const { return device_; }

 private:
  const DeviceContext& device_;
  KernelLibrary library_ = nullptr;
};

// Memory that the emulation's checker knows, for the time of a launch.
class Watched {
 public:
  explicit Watched(const Words& words) : Watched(words.size()) {
    std::memcpy(data_, words.data(), bytes_);
    simt::mark_written(data_, bytes_);
  }
  explicit Watched(std::size_t count) : bytes_(count * 4), data_(::operator new(bytes_, kAlignment)) {
    std::memset(data_, 0xCD, bytes_);
    simt::add_region(data_, bytes_);
  }
  ~Watched() {
    simt::remove_region(data_);
    ::operator delete(data_, kAlignment);
  }
  Watched(const Watched&) = delete;
  Watched& operator=(const Watched&) = delete;
  void* data() const { return data_; }

 private:
  static constexpr std::align_val_t kAlignment{256};
  std::size_t bytes_;
  void* data_;
};

class HostRunner final : public Runner {
 public:
  Words run(const Launch& launch, const std::vector<Words>& inputs, std::size_t out_words, Fill fill,
            const void* more) override {
    static const std::map<std::string, const simt::KernelInfo*> kernels = {
#define X(name, Params) {#name, &name##_twin},
        MOEKIT_KIT_KERNELS(X)
#undef X
    };
    std::vector<std::unique_ptr<Watched>> memory;
    std::vector<void*> addresses;
    for (const Words& words : inputs) {
      memory.push_back(std::make_unique<Watched>(words));
      addresses.push_back(memory.back()->data());
    }
    const Watched out(out_words);
    const std::vector<std::byte> params = fill(addresses, out.data(), more);
    simt::launch(*kernels.at(launch.kernel), {launch.grid, 1, 1}, {launch.threads, 1, 1}, launch.shared_bytes,
                 params.data());
    Words result(out_words);
    std::memcpy(result.data(), out.data(), out_words * 4);
    return result;
  }
};

DeviceRunner& the_device() {
  static DeviceRunner runner;
  return runner;
}

}  // namespace

Runner& device_runner() { return the_device(); }

Runner& host_runner() {
  static HostRunner runner;
  return runner;
}

std::string device_name() {
  char name[256] = {};
  const DeviceContext& device = the_device().device();
  device.check(device.driver.device_name(name, sizeof name, device.device), "cuDeviceGetName");
  return name;
}

int driver_version() {
  int version = 0;
  const DeviceContext& device = the_device().device();
  device.check(device.driver.driver_version(&version), "cuDriverGetVersion");
  return version;
}

}  // namespace moekit::kit
