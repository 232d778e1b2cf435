// SPDX-License-Identifier: Apache-2.0
#include "backends/cuda/driver_api.h"

#include <dlfcn.h>

#include <mutex>

#include "backends/cuda/library.h"
#include "moekit/error.h"

namespace moekit::cuda {
namespace {

std::string text_of(const DriverApi& driver, Result result) {
  const char *name = nullptr, *text = nullptr;
  if (driver.error_name == nullptr || driver.error_name(result, &name) != kSuccess || name == nullptr)
    name = "CUDA_ERROR";
  if (driver.error_string == nullptr || driver.error_string(result, &text) != kSuccess || text == nullptr)
    text = "unknown error";
  return std::string(name) + " (" + std::to_string(result) + "): " + text;
}

struct Opened {
  DriverApi table;
  std::string reason;  // empty: usable
};

Opened open_driver() {
  const Library library = open_library({"libcuda.so.1"});
  Opened opened;
  if (library.handle == nullptr) {
    opened.reason = "no driver: " + library.error;
    return opened;
  }
#define MOEKIT_CUDA_FIND(member, name, params)                                            \
  opened.table.member = reinterpret_cast<Result(*) params>(dlsym(library.handle, #name)); \
  if (opened.table.member == nullptr && opened.reason.empty())                            \
    opened.reason = library.path + " lacks " #name ": CUDA 12.0 or later is needed";
  MOEKIT_CUDA_DRIVER_FUNCTIONS(MOEKIT_CUDA_FIND)
#undef MOEKIT_CUDA_FIND
  if (!opened.reason.empty()) return opened;
  int devices = 0;
  if (const Result result = opened.table.init(0); result != kSuccess) {
    opened.reason = "cuInit: " + text_of(opened.table, result);
  } else if (const Result counted = opened.table.device_count(&devices); counted != kSuccess) {
    opened.reason = "cuDeviceGetCount: " + text_of(opened.table, counted);
  } else if (devices == 0) {
    opened.reason = "the driver finds no device";
  }
  return opened;
}

}  // namespace

const DriverApi* driver_api(std::string* reason) {
  static const Opened opened = open_driver();
  if (opened.reason.empty()) return &opened.table;
  if (reason != nullptr) *reason = opened.reason;
  return nullptr;
}

void check(const DriverApi& driver, Result result, const char* call, const std::string& detail) {
  if (result == kSuccess) return;
  throw DeviceError("[cuda] " + std::string(call) + ": " + text_of(driver, result) +
                    (detail.empty() ? "" : ", " + detail));
}

}  // namespace moekit::cuda
