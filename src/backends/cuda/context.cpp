// SPDX-License-Identifier: Apache-2.0
#include "backends/cuda/context.h"

#include <map>
#include <mutex>
#include <utility>
#include <vector>

#include "moekit/error.h"

#define X(name) extern "C" const unsigned char moekit_fatbin_##name[];
#include "moekit_cuda_fatbins.inc"
#undef X

namespace moekit::cuda {
namespace {

constexpr int kKernels = static_cast<int>(KernelId::kCount);
constexpr int kOldestMajor = 8;  // mma of bfloat16 and cp.async

constexpr const char* kNames[] = {
#define MOEKIT_CUDA_NAME(name, Params) #name,
    MOEKIT_CUDA_KERNELS(MOEKIT_CUDA_NAME)
#undef MOEKIT_CUDA_NAME
};

// In place of machine code where there was no compiler for it: a driver refuses it, the stand-in of the tests knows the
// kernels by name.
constexpr char kNoImage[] = "moekit: kernels by name";

std::vector<const void*> kernel_images() {
  return {
#define X(name) moekit_fatbin_##name,
#include "moekit_cuda_fatbins.inc"
#undef X
  };
}

DeviceOrdinal find_device(const DriverApi& driver, int ordinal) {
  int count = 0, major = 0, minor = 0;
  check(driver, driver.device_count(&count), "cuDeviceGetCount");
  const std::string name = "cuda:" + std::to_string(ordinal);
  if (ordinal < 0 || ordinal >= count)
    throw DeviceError("[cuda] " + name + " does not exist: the driver finds " + std::to_string(count) +
                      (count == 1 ? " device" : " devices"));
  DeviceOrdinal device = 0;
  check(driver, driver.device_get(&device, ordinal), "cuDeviceGet", name);
  check(driver, driver.device_attribute(&major, kComputeCapabilityMajor, device), "cuDeviceGetAttribute", name);
  check(driver, driver.device_attribute(&minor, kComputeCapabilityMinor, device), "cuDeviceGetAttribute", name);
  if (major < kOldestMajor)
    throw DeviceError("[cuda] " + name + " has compute capability " + std::to_string(major) + "." +
                      std::to_string(minor) + ", at least " + std::to_string(kOldestMajor) + ".0 is needed");
  return device;
}

// Throws what is said of the last device where none will do.
void require_device(const DriverApi& driver) {
  int count = 0;
  check(driver, driver.device_count(&count), "cuDeviceGetCount");
  for (int ordinal = 0; ordinal < count; ++ordinal) {
    try {
      find_device(driver, ordinal);
      return;
    } catch (const DeviceError&) {
      if (ordinal == count - 1) throw;
    }
  }
}

// The kernels of all images. Loaded once a process: a CUlibrary belongs to no context.
struct KernelTable {
  std::array<Kernel, kKernels> kernels = {};

  explicit KernelTable(const DriverApi& driver) {
    require_device(driver);  // first: what is said of old devices is clearer than that no image fits them
    std::vector<const void*> images = kernel_images();
    const bool built = !images.empty();
    if (!built) images.push_back(kNoImage);
    for (const void* image : images) {
      KernelLibrary library = nullptr;
      const Result loaded = driver.library_load(&library, image, nullptr, nullptr, 0, nullptr, nullptr, 0);
      if (!built && loaded != kSuccess)
        throw DeviceError(
            "[cuda] this library was built without kernels: build it where nvcc is found (MOEKIT_WITH_CUDA)");
      check(driver, loaded, "cuLibraryLoadData");
      for (int i = 0; i < kKernels; ++i) {
        Kernel kernel = nullptr;  // another image may hold it
        if (kernels[static_cast<std::size_t>(i)] == nullptr &&
            driver.library_kernel(&kernel, library, kNames[i]) == kSuccess)
          kernels[static_cast<std::size_t>(i)] = kernel;
      }
    }
    for (int i = 0; i < kKernels; ++i)
      if (kernels[static_cast<std::size_t>(i)] == nullptr)
        throw DeviceError("[cuda] cuLibraryGetKernel: no image of the library holds the kernel " +
                          std::string(kNames[i]));
  }
};

const KernelTable& kernel_table(const DriverApi& driver) {
  static const KernelTable table(driver);
  return table;
}

Context retain(const DriverApi& driver, DeviceOrdinal device) {
  Context context = nullptr;
  check(driver, driver.primary_context_retain(&context, device), "cuDevicePrimaryCtxRetain");
  return context;
}

}  // namespace

DeviceContext::DeviceContext(const DriverApi& api, int index)
    : driver(api), ordinal(index), device(find_device(api, index)), context(retain(api, device)) {
  const ContextScope current(*this);
  kernel_table(driver);
}

std::string unusable_reason() {
  std::string reason;
  const DriverApi* const driver = driver_api(&reason);
  if (driver == nullptr) return reason;
  try {
    kernel_table(*driver);
  } catch (const DeviceError& error) {
    return error.what();
  }
  return "";
}

// Contexts outlive every buffer, so they are never given back.
const DeviceContext& DeviceContext::of(int ordinal) {
  std::string reason;
  const DriverApi* const driver = driver_api(&reason);
  if (driver == nullptr) throw DeviceError("[cuda] not available: " + reason);
  static std::mutex mutex;
  static auto& contexts = *new std::map<int, std::unique_ptr<DeviceContext>>();
  const std::lock_guard lock(mutex);
  std::unique_ptr<DeviceContext>& context = contexts[ordinal];
  if (context == nullptr) context.reset(new DeviceContext(*driver, ordinal));
  return *context;
}

void DeviceContext::launch(KernelId kernel, unsigned grid_x, unsigned grid_y, unsigned threads, unsigned shared_bytes,
                           StreamHandle stream, void* params) const {
  if (grid_x == 0 || grid_y == 0) return;
  const auto index = static_cast<std::size_t>(kernel);
  void* arguments[] = {params};
  check(driver.launch(kernel_table(driver).kernels[index], grid_x, grid_y, 1, threads, 1, 1, shared_bytes, stream,
                      arguments, nullptr),
        "cuLaunchKernel", kNames[index]);
}

DeviceMemory::DeviceMemory(const DeviceContext& device, std::size_t bytes, const char* purpose) : device_(&device) {
  if (bytes == 0) return;
  const ContextScope current(device);
  device.check(device.driver.memory_allocate(&pointer_, bytes), "cuMemAlloc",
               std::to_string(bytes) + " bytes for " + purpose + " on cuda:" + std::to_string(device.ordinal));
  bytes_ = bytes;
}

DeviceMemory::~DeviceMemory() {
  if (bytes_ == 0) return;
  // A broken device cannot free; there is nobody to tell.
  if (device_->driver.context_push(device_->context) != kSuccess) return;
  device_->driver.memory_free(pointer_);
  Context popped = nullptr;
  device_->driver.context_pop(&popped);
}

DeviceMemory::DeviceMemory(DeviceMemory&& other) noexcept
    : device_(other.device_), pointer_(other.pointer_), bytes_(std::exchange(other.bytes_, 0)) {}

DeviceMemory& DeviceMemory::operator=(DeviceMemory&& other) noexcept {
  std::swap(device_, other.device_);
  std::swap(pointer_, other.pointer_);
  std::swap(bytes_, other.bytes_);
  return *this;
}

}  // namespace moekit::cuda
