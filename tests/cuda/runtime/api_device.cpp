// SPDX-License-Identifier: Apache-2.0
// Devices, contexts and error texts.
#include <algorithm>
#include <cstring>

#include "cuda/runtime/machine.h"

using namespace moekit::standin;
using namespace moekit::cuda;

namespace {

// The device of an ordinal, or null.
DeviceModel* device_at(DeviceOrdinal ordinal) {
  auto& devices = machine().devices;
  return ordinal >= 0 && static_cast<std::size_t>(ordinal) < devices.size()
             ? devices[static_cast<std::size_t>(ordinal)].get()
             : nullptr;
}

}  // namespace

extern "C" {

int cuInit(unsigned flags) {
  const Entry entry("cuInit", Needs::kNothing);
  if (entry.result != SUCCESS) return entry.result;
  if (flags != 0) return ERROR_INVALID_VALUE;
  if (!machine().initialise()) return ERROR_UNKNOWN;
  return machine().devices.empty() ? ERROR_NO_DEVICE : SUCCESS;
}

int cuDriverGetVersion(int* version) {
  const Entry entry("cuDriverGetVersion", Needs::kNothing);
  if (entry.result == SUCCESS) *version = 13000;
  return entry.result;
}

int cuGetErrorName(Result error, const char** name) {
  const Entry entry("cuGetErrorName", Needs::kNothing);
  switch (error) {
#define X(code, number, text) \
  case number: *name = "CUDA_" #code; return SUCCESS;
    MOEKIT_STANDIN_ERRORS(X)
#undef X
    default: *name = nullptr; return ERROR_INVALID_VALUE;
  }
}

int cuGetErrorString(Result error, const char** text) {
  const Entry entry("cuGetErrorString", Needs::kNothing);
  switch (error) {
#define X(code, number, description) \
  case number: *text = description; return SUCCESS;
    MOEKIT_STANDIN_ERRORS(X)
#undef X
    default: *text = nullptr; return ERROR_INVALID_VALUE;
  }
}

int cuDeviceGetCount(int* count) {
  const Entry entry("cuDeviceGetCount", Needs::kDriver);
  if (entry.result == SUCCESS) *count = static_cast<int>(machine().devices.size());
  return entry.result;
}

int cuDeviceGet(DeviceOrdinal* device, int ordinal) {
  const Entry entry("cuDeviceGet", Needs::kDriver);
  if (entry.result != SUCCESS) return entry.result;
  if (device_at(ordinal) == nullptr) return ERROR_INVALID_DEVICE;
  *device = ordinal;
  return SUCCESS;
}

int cuDeviceGetName(char* name, int length, DeviceOrdinal device) {
  const Entry entry("cuDeviceGetName", Needs::kDriver);
  if (entry.result != SUCCESS) return entry.result;
  const DeviceModel* model = device_at(device);
  if (model == nullptr) return ERROR_INVALID_DEVICE;
  if (name == nullptr || length <= 0) return ERROR_INVALID_VALUE;
  const std::string text = "stand-in sm_" + std::to_string(model->capability);
  std::strncpy(name, text.c_str(), static_cast<std::size_t>(length));
  name[length - 1] = '\0';
  return SUCCESS;
}

int cuDeviceGetAttribute(int* value, int attribute, DeviceOrdinal device) {
  const Entry entry("cuDeviceGetAttribute", Needs::kDriver);
  if (entry.result != SUCCESS) return entry.result;
  const DeviceModel* model = device_at(device);
  if (model == nullptr) return ERROR_INVALID_DEVICE;
  switch (attribute) {
    case kMaxSharedMemoryPerBlockOptin: *value = model->shared_optin; return SUCCESS;
    case kMultiprocessorCount: *value = model->multiprocessors; return SUCCESS;
    case kComputeCapabilityMajor: *value = model->capability / 10; return SUCCESS;
    case kComputeCapabilityMinor: *value = model->capability % 10; return SUCCESS;
    default:
      machine().problem("cuDeviceGetAttribute: the stand-in does not know attribute " + std::to_string(attribute));
      return ERROR_INVALID_VALUE;
  }
}

int cuDevicePrimaryCtxRetain(Context* context, DeviceOrdinal device) {
  const Entry entry("cuDevicePrimaryCtxRetain", Needs::kDriver);
  if (entry.result != SUCCESS) return entry.result;
  DeviceModel* model = device_at(device);
  if (model == nullptr) return ERROR_INVALID_DEVICE;
  model->context.retained = true;
  *context = &model->context;
  return model->broken;
}

int cuDevicePrimaryCtxRelease_v2(DeviceOrdinal device) {
  const Entry entry("cuDevicePrimaryCtxRelease_v2", Needs::kDriver);
  return entry.result != SUCCESS ? entry.result : device_at(device) != nullptr ? SUCCESS : ERROR_INVALID_DEVICE;
}

int cuCtxPushCurrent_v2(Context context) {
  const Entry entry("cuCtxPushCurrent_v2", Needs::kDriver);
  if (entry.result != SUCCESS) return entry.result;
  const auto& devices = machine().devices;
  const bool known = std::any_of(devices.begin(), devices.end(),
                                 [context](const auto& d) { return &d->context == context && d->context.retained; });
  if (!known) return ERROR_INVALID_CONTEXT;
  context_stack().push_back(context);
  return SUCCESS;
}

int cuCtxPopCurrent_v2(Context* context) {
  const Entry entry("cuCtxPopCurrent_v2", Needs::kDriver);
  if (entry.result != SUCCESS) return entry.result;
  if (context_stack().empty()) return ERROR_INVALID_CONTEXT;
  if (context != nullptr) *context = context_stack().back();
  context_stack().pop_back();
  return SUCCESS;
}

int cuCtxGetCurrent(Context* context) {
  const Entry entry("cuCtxGetCurrent", Needs::kDriver);
  if (entry.result == SUCCESS) *context = context_stack().empty() ? nullptr : context_stack().back();
  return entry.result;
}

int cuCtxGetDevice(DeviceOrdinal* device) {
  const Entry entry("cuCtxGetDevice", Needs::kContext);
  if (entry.result == SUCCESS) *device = entry.ordinal();
  return entry.result;
}

int cuCtxSynchronize() {
  const Entry entry("cuCtxSynchronize", Needs::kContextOutsideCapture);
  if (entry.result != SUCCESS) return entry.result;
  ++machine().statistics.waits;
  machine().queue.wait_all(entry.ordinal());
  return entry.device().broken;
}

}  // extern "C"
