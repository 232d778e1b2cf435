// SPDX-License-Identifier: Apache-2.0
// aclInit, devices, contexts, information.
#include "../core/context.h"
#include "../core/entry.h"
#include "../core/log.h"
#include "../core/settings.h"
#include "../core/touch.h"

namespace ascend_double {
namespace {

int init(const char*) {
  require(!initialized(), code::kRepeatInitialize, "aclInit was called before");
  set_initialized(true);
  explain_touches();
  return code::kSuccess;
}

// "Initialised before" is true afterwards, or the caller who rightly goes on would be told the opposite.
void init_fault(int fault, const char*) {
  if (fault != code::kRepeatInitialize) return;
  set_initialized(true);
  explain_touches();
}

int finalize() {
  require(initialized(), code::kRepeatFinalize, "aclInit was not called, or aclFinalize was before");
  refuse_in_capture("aclFinalize");
  set_initialized(false);
  return code::kSuccess;
}

int get_device_count(uint32_t* count) {
  require(count != nullptr, code::kInvalidParam, "count is NULL");
  *count = static_cast<uint32_t>(settings().devices());
  return code::kSuccess;
}

int set_device_of_thread(int32_t device) {
  require_initialized();
  set_device(device);
  return code::kSuccess;
}

int reset(int32_t device) {
  require_initialized();
  refuse_in_capture("aclrtResetDevice");
  reset_device(device);
  return code::kSuccess;
}

int get_device(int32_t* device) {
  require(device != nullptr, code::kInvalidParam, "device is NULL");
  *device = current_context()->device;
  return code::kSuccess;
}

int create_context(void** handle, int32_t device) {
  require_initialized();
  require(handle != nullptr, code::kInvalidParam, "context is NULL");
  check_device(device);
  auto context = std::make_shared<Context>();
  context->device = device;
  context->default_stream = std::make_shared<Stream>(context, device, true);
  *handle = contexts().add(context);
  set_current_context(*handle);
  return code::kSuccess;
}

int destroy_context(void* handle) {
  require_initialized();
  const auto context = contexts().get(handle, code::kInvalidParam, code::kRtContextNull);
  for (const auto& stream : streams().all_live()) {
    if (stream->context() == context) violate("leak", code::kRtStreamContext, "the context still has streams");
  }
  contexts().remove(handle, code::kInvalidParam, code::kRtContextNull);
  return code::kSuccess;
}

int set_context(void* handle) {
  require_initialized();
  require(handle != nullptr, code::kInvalidParam, "context is NULL");
  set_current_context(handle);
  return code::kSuccess;
}

int get_context(void** handle) {
  require(handle != nullptr, code::kInvalidParam, "context is NULL");
  *handle = current_context_handle();
  return code::kSuccess;
}

int get_version(int32_t* major, int32_t* minor, int32_t* patch) {
  require(major != nullptr && minor != nullptr && patch != nullptr, code::kInvalidParam, "an argument is NULL");
  *major = 1;
  *minor = settings().old_cann() ? 15 : 17;
  *patch = 0;
  return code::kSuccess;
}

int get_capability(uint32_t device, int info, int64_t* value) {
  require(value != nullptr, code::kInvalidParam, "value is NULL");
  check_device(device);
  switch (info) {  // an Atlas A2: 24 cube cores, 48 vector cores, 192 MiB of cache
    case 0: *value = 24; break;
    case 1: *value = 48; break;
    case 2: *value = int64_t{192} << 20; break;
    default: fail(code::kInvalidParam, "info ", info, " is unknown");
  }
  return code::kSuccess;
}

int get_device_info(uint32_t device, int attribute, int64_t* value) {
  require(value != nullptr, code::kInvalidParam, "value is NULL");
  check_device(device);
  switch (attribute) {
    case 101:
    case 102: *value = 24; break;
    case 201: *value = 48; break;
    case 301: *value = static_cast<int64_t>(settings().memory_bytes()); break;
    case 302: *value = int64_t{192} << 20; break;
    default: fail(code::kInvalidParam, "attribute ", attribute, " is unknown");
  }
  return code::kSuccess;
}

const char* get_soc_name() {
  static thread_local std::string name;
  name = settings().soc();
  return name.c_str();
}

size_t data_type_size(int dtype) { return static_cast<size_t>(element_bits(static_cast<DataType>(dtype)) / 8); }

const char* get_recent_message() { return take_recent_message(); }

int can_access_peer(int32_t* can, int32_t device, int32_t peer) {
  require(can != nullptr, code::kInvalidParam, "canAccessPeer is NULL");
  check_device(device);
  check_device(peer);
  *can = device != peer ? 1 : 0;
  return code::kSuccess;
}

int enable_peer(int32_t peer, uint32_t flags) {
  current_context();
  check_device(peer);
  require(flags == 0, code::kInvalidParam, "flags must be 0, are ", flags);
  return code::kSuccess;
}

int set_option(int option, int64_t value) {
  require_initialized();
  require(option >= 0 && option <= 2, code::kInvalidParam, "option ", option, " is unknown");
  require(value >= 0 && value <= 3, code::kInvalidParam, "value ", value, " is not 0..3");
  return code::kSuccess;
}

int set_context_option(int option, int64_t value) {
  current_context();
  return set_option(option, value);
}

}  // namespace
}  // namespace ascend_double

using namespace ascend_double;
ASCEND_DOUBLE_EXPORT_WITH(aclInit, init, &init_fault)
ASCEND_DOUBLE_EXPORT(aclFinalize, finalize)
ASCEND_DOUBLE_EXPORT(aclrtGetDeviceCount, get_device_count)
ASCEND_DOUBLE_EXPORT(aclrtSetDevice, set_device_of_thread)
ASCEND_DOUBLE_EXPORT(aclrtResetDevice, reset)
ASCEND_DOUBLE_EXPORT(aclrtGetDevice, get_device)
ASCEND_DOUBLE_EXPORT(aclrtCreateContext, create_context)
ASCEND_DOUBLE_EXPORT(aclrtDestroyContext, destroy_context)
ASCEND_DOUBLE_EXPORT(aclrtSetCurrentContext, set_context)
ASCEND_DOUBLE_EXPORT(aclrtGetCurrentContext, get_context)
ASCEND_DOUBLE_EXPORT(aclrtGetVersion, get_version)
ASCEND_DOUBLE_EXPORT(aclGetDeviceCapability, get_capability)
ASCEND_DOUBLE_EXPORT(aclrtGetDeviceInfo, get_device_info)
ASCEND_DOUBLE_EXPORT(aclrtGetSocName, get_soc_name)
ASCEND_DOUBLE_EXPORT(aclGetRecentErrMsg, get_recent_message)
ASCEND_DOUBLE_EXPORT(aclrtDeviceCanAccessPeer, can_access_peer)
ASCEND_DOUBLE_EXPORT(aclrtDeviceEnablePeerAccess, enable_peer)
ASCEND_DOUBLE_EXPORT(aclrtSetSysParamOpt, set_option)
ASCEND_DOUBLE_EXPORT(aclrtCtxSetSysParamOpt, set_context_option)
ASCEND_DOUBLE_EXPORT(aclDataTypeSize, data_type_size)
