// SPDX-License-Identifier: Apache-2.0
// aclrtMalloc, aclrtFree, copies and fills.
#include <cstring>

#include "../core/context.h"
#include "../core/entry.h"
#include "../core/pinned.h"
#include "../core/settings.h"

namespace ascend_double {
namespace {

int malloc_device(void** address, size_t size, int policy) {
  const auto context = current_context();
  require(address != nullptr, code::kInvalidParam, "devPtr is NULL");
  require((policy & 0xFF) <= 7 && policy >= 0, code::kRtParamInvalid, "policy ", policy, " is unknown");
  refuse_in_capture("aclrtMalloc");
  *address = device_memory().allocate(context->device, size);
  return code::kSuccess;
}

int free_device(void* address) {
  current_context();
  require(address != nullptr, code::kRtParamInvalid, "devPtr is NULL");
  refuse_in_capture("aclrtFree");
  const std::shared_ptr<Block> block = device_memory().find_start(address);
  order().host_touches({block, 0, block->bytes, true}, "aclrtFree");
  device_memory().release(block);
  return code::kSuccess;
}

int malloc_host(void** address, size_t size) {
  current_context();
  require(address != nullptr, code::kInvalidParam, "hostPtr is NULL");
  require(size > 0, code::kRtParamInvalid, "size is 0");
  *address = pinned_memory().allocate(size);
  return code::kSuccess;
}

int free_host(void* address) {
  require_initialized();
  require(address != nullptr, code::kRtParamInvalid, "hostPtr is NULL");
  pinned_memory().release(address);
  return code::kSuccess;
}

struct Side {  // one end of a copy: a region of the device or plain host memory
  Region region;
  std::byte* host = nullptr;
  std::byte* data() const { return region.block ? region.data() : host; }
};

Side side(const void* address, bool on_device, uint64_t bytes, bool write, const char* what) {
  if (on_device) return {device_memory().region(address, bytes, write, what), nullptr};
  if (device_memory().is_device(address)) {
    violate("copy direction", code::kRtParamInvalid, what, ": ", address,
            " is device memory, the kind of the copy says host memory");
  }
  return {Region(), const_cast<std::byte*>(static_cast<const std::byte*>(address))};
}

struct Copy {
  Side to, from;
  uint64_t bytes;
};

Copy make_copy(void* dst, size_t dst_max, const void* src, size_t count, int kind) {
  require(dst != nullptr && src != nullptr, code::kInvalidParam, dst == nullptr ? "dst is NULL" : "src is NULL");
  require(count <= dst_max, code::kInvalidParam, "count ", count, " exceeds destMax ", dst_max);
  require(count > 0, code::kRtParamInvalid, "count is 0");
  require(kind >= 0 && kind <= 4, code::kRtParamInvalid, "kind ", kind, " is unknown");
  const auto direction = static_cast<MemcpyKind>(kind);
  const bool guess = direction == MemcpyKind::kDefault;
  const bool to_device = guess ? device_memory().is_device(dst)
                               : direction == MemcpyKind::kHostToDevice || direction == MemcpyKind::kDeviceToDevice;
  const bool from_device = guess ? device_memory().is_device(src)
                                 : direction == MemcpyKind::kDeviceToHost || direction == MemcpyKind::kDeviceToDevice;
  return {side(dst, to_device, count, true, "dst"), side(src, from_device, count, false, "src"), count};
}

int copy(void* dst, size_t dst_max, const void* src, size_t count, int kind) {
  current_context();
  refuse_in_capture("aclrtMemcpy");
  const Copy work = make_copy(dst, dst_max, src, count, kind);
  order().host_touches(work.to.region, "aclrtMemcpy");
  order().host_touches(work.from.region, "aclrtMemcpy");
  std::memmove(work.to.data(), work.from.data(), work.bytes);
  return code::kSuccess;
}

int copy_async(void* dst, size_t dst_max, const void* src, size_t count, int kind, void* stream_handle) {
  const auto stream = stream_of(stream_handle);
  const Copy work = make_copy(dst, dst_max, src, count, kind);
  if (work.to.region.block && work.from.region.block) {
    const auto odd = [](const void* address) { return reinterpret_cast<uintptr_t>(address) % 64 != 0; };
    require(!odd(dst) && !odd(src), code::kUnaligned, "on-chip asynchronous copies need addresses of 64 bytes, got ",
            dst, " and ", src);
  }
  stream->submit({"aclrtMemcpyAsync", {work.to.region, work.from.region}, [work] {
                    std::memmove(work.to.data(), work.from.data(), work.bytes);
                  }});
  return code::kSuccess;
}

Region fill_region(void* address, size_t max_count, size_t count) {
  require(address != nullptr, code::kInvalidParam, "devPtr is NULL");
  require(count <= max_count, code::kInvalidParam, "count ", count, " exceeds maxCount ", max_count);
  return device_memory().region(address, count, true, "devPtr");
}

int fill(void* address, size_t max_count, int32_t value, size_t count) {
  current_context();
  refuse_in_capture("aclrtMemset");
  const Region region = fill_region(address, max_count, count);
  order().host_touches(region, "aclrtMemset");
  std::memset(region.data(), value, count);
  return code::kSuccess;
}

int fill_async(void* address, size_t max_count, int32_t value, size_t count, void* stream_handle) {
  const auto stream = stream_of(stream_handle);
  const Region region = fill_region(address, max_count, count);
  stream->submit({"aclrtMemsetAsync", {region}, [region, value, count] { std::memset(region.data(), value, count); }});
  return code::kSuccess;
}

int get_memory(int attribute, size_t* free_bytes, size_t* total) {
  const auto context = current_context();
  require(free_bytes != nullptr && total != nullptr, code::kInvalidParam, "an argument is NULL");
  require(attribute >= 0, code::kInvalidParam, "attribute ", attribute, " is unknown");
  *total = settings().memory_bytes();
  *free_bytes = *total - device_memory().used(context->device);
  return code::kSuccess;
}

}  // namespace
}  // namespace ascend_double

using namespace ascend_double;
ASCEND_DOUBLE_EXPORT(aclrtMalloc, malloc_device)
ASCEND_DOUBLE_EXPORT(aclrtFree, free_device)
ASCEND_DOUBLE_EXPORT(aclrtMallocHost, malloc_host)
ASCEND_DOUBLE_EXPORT(aclrtFreeHost, free_host)
ASCEND_DOUBLE_EXPORT(aclrtMemcpy, copy)
ASCEND_DOUBLE_EXPORT(aclrtMemcpyAsync, copy_async)
ASCEND_DOUBLE_EXPORT(aclrtMemset, fill)
ASCEND_DOUBLE_EXPORT(aclrtMemsetAsync, fill_async)
ASCEND_DOUBLE_EXPORT(aclrtGetMemInfo, get_memory)
