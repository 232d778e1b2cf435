// SPDX-License-Identifier: Apache-2.0
#include "backends/ascend/device.h"

#include <string>

#include "moekit/error.h"

namespace moekit::ascend {

DeviceScope::DeviceScope(int index) {
  const Runtime& rt = api().rt;
  std::int32_t current = -1;
  const bool known = rt.aclrtGetDevice(&current) == 0;  // fails on a thread that never set one
  if (known && current == index) return;
  if (index < 0 || static_cast<std::uint32_t>(index) >= api().devices)
    throw DeviceError("[ascend] device " + std::to_string(index) + " does not exist, there are " +
                      std::to_string(api().devices));
  check(rt.aclrtSetDevice(index), "aclrtSetDevice");
  if (known) before_ = current;
}

DeviceScope::~DeviceScope() {
  if (before_ >= 0) api().rt.aclrtSetDevice(before_);
}

Buffer allocate(std::size_t bytes, int device) {
  const DeviceScope scope(device);
  void* data = nullptr;
  const std::string call = "aclrtMalloc of " + std::to_string(bytes) + " bytes on device " + std::to_string(device);
  check(api().rt.aclrtMalloc(&data, bytes != 0 ? bytes : 1, kAclHugeFirst), call.c_str());
  return Buffer(data, bytes, [device](void* memory) {
    try {
      const DeviceScope freeing(device);
      api().rt.aclrtFree(memory);
    } catch (...) {  // the device went away: so did its memory
    }
  });
}

void copy_now(void* target, const void* source, std::size_t bytes, AclCopy kind) {
  if (bytes != 0) check(api().rt.aclrtMemcpy(target, bytes, source, bytes, kind), "aclrtMemcpy");
}

AscendStream::AscendStream(int device) : device_(device) {
  const DeviceScope scope(device);
  check(api().rt.aclrtCreateStream(&stream_), "aclrtCreateStream");
}

AscendStream::~AscendStream() {
  try {
    const DeviceScope scope(device_);
    api().rt.aclrtDestroyStream(stream_);
  } catch (...) {
  }
}

void AscendStream::synchronize() {
  const DeviceScope scope(device_);
  check(api().rt.aclrtSynchronizeStream(stream_), "aclrtSynchronizeStream");
}

bool is_capturing(AclStream stream) {
  const Runtime& rt = api().rt;
  if (rt.aclmdlRICaptureGetInfo == nullptr) return false;
  std::int32_t status = 0;
  AclGraph graph = nullptr;
  return rt.aclmdlRICaptureGetInfo(stream, &status, &graph) == 0 && status == kAclCaptureActive;
}

}  // namespace moekit::ascend
