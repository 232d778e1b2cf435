// SPDX-License-Identifier: Apache-2.0
#include "backends/ascend/device.h"

#include <iterator>
#include <map>
#include <mutex>
#include <string>

#include "moekit/error.h"

namespace moekit::ascend {
namespace {

/// Which device the blocks of allocate() lie on: a copy has to be made there, and its pointers do not tell.
struct Registry {
  struct Block {
    std::uintptr_t end;
    int device;
  };
  std::mutex mutex;
  std::map<std::uintptr_t, Block> blocks;  // by first address
};
Registry& registry() {
  static Registry instance;
  return instance;
}

void remember(const void* memory, std::size_t bytes, int device) {
  const auto first = reinterpret_cast<std::uintptr_t>(memory);
  const std::lock_guard<std::mutex> lock(registry().mutex);
  registry().blocks[first] = {first + bytes, device};
}

void forget(const void* memory) {
  const std::lock_guard<std::mutex> lock(registry().mutex);
  registry().blocks.erase(reinterpret_cast<std::uintptr_t>(memory));
}

}  // namespace

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
  remember(data, bytes != 0 ? bytes : 1, device);
  return Buffer(data, bytes, [device](void* memory) {
    forget(memory);
    try {
      const DeviceScope freeing(device);
      api().rt.aclrtFree(memory);
    } catch (...) {  // the device went away: so did its memory
    }
  });
}

int device_of(const void* memory) {
  const auto address = reinterpret_cast<std::uintptr_t>(memory);
  const std::lock_guard<std::mutex> lock(registry().mutex);
  auto after = registry().blocks.upper_bound(address);
  if (after == registry().blocks.begin()) return -1;
  const Registry::Block& block = std::prev(after)->second;
  return address < block.end ? block.device : -1;
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
