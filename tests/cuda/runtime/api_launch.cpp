// SPDX-License-Identifier: Apache-2.0
// Kernels: images, lookup, launch.
#include <algorithm>
#include <cstdlib>
#include <cstring>

#include "cuda/runtime/launch.h"
#include "cuda/runtime/machine.h"

using namespace moekit::standin;
using namespace moekit::cuda;

namespace {

constexpr unsigned kMaxJitOptions = 64;

bool known_kernel(const KernelObject* kernel) {
  for (const LibraryObject* library : machine().libraries)
    for (const auto& [name, known] : library->kernels)
      if (known.get() == kernel) return true;
  return false;
}

// Whether the kernel's library has code for the device; a library of names only has none for any.
bool runs_on(const KernelObject& kernel, int capability) {
  for (const LibraryObject* library : machine().libraries)
    for (const auto& [name, known] : library->kernels)
      if (known.get() == &kernel) return library->images.machine_code.empty() || library->images.runs_on(capability);
  return false;
}

bool by_name_refused() {
  const char* const images = std::getenv("MOEKIT_STANDIN_IMAGES");
  return images != nullptr && std::strcmp(images, "machine_code") == 0;
}

}  // namespace

extern "C" {

int cuLibraryLoadData(KernelLibrary* handle, const void* image, int*, void**, unsigned jit_count, int*, void**,
                      unsigned library_count) {
  const Entry entry("cuLibraryLoadData", Needs::kDriver);
  if (entry.result != SUCCESS) return entry.result;
  if (machine().capture_forbids()) return ERROR_STREAM_CAPTURE_UNSUPPORTED;
  if (handle == nullptr || image == nullptr || jit_count > kMaxJitOptions || library_count > kMaxJitOptions)
    return ERROR_INVALID_VALUE;
  auto library = std::make_unique<LibraryObject>();
  if (is_fat_binary(image)) {
    library->images = read_fat_binary(image);
    const auto& devices = machine().devices;
    if (std::none_of(devices.begin(), devices.end(),
                     [&](const auto& device) { return library->images.runs_on(device->capability); }))
      return ERROR_NO_BINARY_FOR_GPU;  // for one device of several it comes when a kernel is used there
  } else if (by_name_refused() || std::strncmp(static_cast<const char*>(image), "moekit", 6) != 0) {
    return ERROR_INVALID_IMAGE;  // else: a build without nvcc, whose kernels are known by name only
  }
  *handle = library.get();
  machine().libraries.insert(library.release());
  return SUCCESS;
}

int cuLibraryUnload(KernelLibrary library) {
  const Entry entry("cuLibraryUnload", Needs::kDriver);
  if (entry.result != SUCCESS) return entry.result;
  if (machine().libraries.erase(library) == 0) return ERROR_INVALID_HANDLE;
  delete library;
  return SUCCESS;
}

int cuLibraryGetKernel(Kernel* handle, KernelLibrary library, const char* name) {
  const Entry entry("cuLibraryGetKernel", Needs::kDriver);
  if (entry.result != SUCCESS) return entry.result;
  if (machine().libraries.count(library) == 0) return ERROR_INVALID_HANDLE;
  if (handle == nullptr || name == nullptr) return ERROR_INVALID_VALUE;
  auto& kernel = library->kernels[name];
  if (kernel == nullptr) {
    auto found = std::make_unique<KernelObject>();
    found->name = name;
    for (const auto& [capability, kernels] : library->images.machine_code) {
      const auto image = kernels.find(name);
      if (image != kernels.end()) found->images[capability] = image->second;
    }
    if (found->images.size() != library->images.machine_code.size() || !has_twin(name)) {
      library->kernels.erase(name);
      return ERROR_NOT_FOUND;
    }
    kernel = std::move(found);
  }
  *handle = kernel.get();
  return SUCCESS;
}

int cuKernelSetAttribute(int attribute, int value, Kernel kernel, DeviceOrdinal device) {
  const Entry entry("cuKernelSetAttribute", Needs::kDriver);
  if (entry.result != SUCCESS) return entry.result;
  if (!known_kernel(kernel)) return ERROR_INVALID_HANDLE;
  if (device < 0 || static_cast<std::size_t>(device) >= machine().devices.size()) return ERROR_INVALID_DEVICE;
  const DeviceModel& model = *machine().devices[static_cast<std::size_t>(device)];
  if (attribute != kMaxDynamicSharedSizeBytes) {
    machine().problem("cuKernelSetAttribute: the stand-in does not know attribute " + std::to_string(attribute));
    return ERROR_INVALID_VALUE;
  }
  if (value < 0 || value > model.shared_optin - static_shared_bytes(*kernel, model.capability))
    return ERROR_INVALID_VALUE;
  kernel->dynamic_shared_limit[device] = value;
  return SUCCESS;
}

int cuLaunchKernel(Kernel kernel, unsigned grid_x, unsigned grid_y, unsigned grid_z, unsigned block_x, unsigned block_y,
                   unsigned block_z, unsigned shared_bytes, StreamHandle handle, void** params, void** extra) {
  const Entry entry("cuLaunchKernel", Needs::kContext);
  if (entry.result != SUCCESS) return entry.result;
  if (!known_kernel(kernel)) return ERROR_INVALID_HANDLE;
  StreamObject* stream = stream_of(entry, handle);
  if (stream == nullptr) return ERROR_INVALID_HANDLE;
  if (params == nullptr || params[0] == nullptr || extra != nullptr) return ERROR_INVALID_VALUE;
  if (!runs_on(*kernel, entry.device().capability)) return ERROR_NO_BINARY_FOR_GPU;
  const LaunchShape shape{{grid_x, grid_y, grid_z}, {block_x, block_y, block_z}, shared_bytes};
  if (const int refused = check_launch(*kernel, entry.ordinal(), shape); refused != SUCCESS) return refused;
  return launch_twin(entry, *stream, *kernel, shape, params[0]);
}

}  // extern "C"
