// SPDX-License-Identifier: Apache-2.0
// Memory and copies.
#include <cstring>

#include "cuda/runtime/machine.h"
#include "cuda/runtime/twins.h"

using namespace moekit::standin;
using namespace moekit::cuda;

namespace {

std::byte* bytes_at(DevicePointer pointer) {
  return reinterpret_cast<std::byte*>(static_cast<std::uintptr_t>(pointer));
}

bool is_pinned(const void* pointer) {
  const Allocation* allocation = machine().memory.find(pointer);
  return allocation != nullptr && allocation->device == kHost;
}

std::string sized(const char* what, std::size_t bytes) {
  return std::string(what) + " of " + std::to_string(bytes) + " bytes";
}

void write(std::byte* target, const void* source, std::size_t bytes) {
  std::memmove(target, source, bytes);
  note_written(target, bytes);
}

// Device memory that the call names must be of the current device, whole. As the driver: pageable host memory is read
// before an upload returns, and a download into it has ended when the call returns; pinned memory is touched when the
// stream comes to it, and so may not change until then.
int copy_to_device(const Entry& entry, StreamObject& stream, DevicePointer to, const void* from, std::size_t bytes) {
  if (bytes == 0) return SUCCESS;
  if (from == nullptr || !machine().memory.holds(bytes_at(to), bytes, entry.ordinal())) return ERROR_INVALID_VALUE;
  std::byte* target = bytes_at(to);
  if (is_pinned(from)) {
    if (!machine().memory.holds(from, bytes, kHost)) return ERROR_INVALID_VALUE;
    return enqueue(entry, stream, sized("copy to the device", bytes), [=] { write(target, from, bytes); });
  }
  if (machine().memory.find(from) != nullptr) return ERROR_INVALID_VALUE;  // device memory named as the host's
  if (stream.capture != nullptr) {
    stream.capture->invalid = ERROR_STREAM_CAPTURE_INVALIDATED;
    return ERROR_STREAM_CAPTURE_UNSUPPORTED;
  }
  const auto* begin = static_cast<const std::byte*>(from);
  auto staged = std::make_shared<std::vector<std::byte>>(begin, begin + bytes);
  return enqueue(entry, stream, sized("copy to the device", bytes), [=] { write(target, staged->data(), bytes); });
}

int copy_to_host(const Entry& entry, StreamObject& stream, void* to, DevicePointer from, std::size_t bytes) {
  if (bytes == 0) return SUCCESS;
  if (to == nullptr || !machine().memory.holds(bytes_at(from), bytes, entry.ordinal())) return ERROR_INVALID_VALUE;
  const std::byte* source = bytes_at(from);
  const bool pinned = is_pinned(to);
  if (pinned ? !machine().memory.holds(to, bytes, kHost) : machine().memory.find(to) != nullptr)
    return ERROR_INVALID_VALUE;
  if (!pinned && stream.capture != nullptr) {
    stream.capture->invalid = ERROR_STREAM_CAPTURE_INVALIDATED;
    return ERROR_STREAM_CAPTURE_UNSUPPORTED;
  }
  const int result = enqueue(entry, stream, sized("copy to the host", bytes), [=] { std::memcpy(to, source, bytes); });
  if (result != SUCCESS || pinned) return result;
  ++machine().statistics.waits;
  machine().queue.wait(stream.tail);
  return entry.device().broken;
}

}  // namespace

extern "C" {

int cuMemAlloc_v2(DevicePointer* pointer, std::size_t bytes) {
  const Entry entry("cuMemAlloc_v2", Needs::kContextOutsideCapture);
  if (entry.result != SUCCESS) return entry.result;
  if (pointer == nullptr || bytes == 0) return ERROR_INVALID_VALUE;
  Machine& m = machine();
  if (bytes > entry.device().memory || m.memory.live_bytes(entry.ordinal()) > entry.device().memory - bytes)
    return ERROR_OUT_OF_MEMORY;
  std::byte* data = m.memory.allocate(entry.ordinal(), bytes);
  if (data == nullptr) return ERROR_OUT_OF_MEMORY;
  watch_memory(data, bytes);
  ++m.statistics.allocations;
  *pointer = reinterpret_cast<std::uintptr_t>(data);
  return SUCCESS;
}

// As the driver, waits for all that might use the memory.
int cuMemFree_v2(DevicePointer pointer) {
  const Entry entry("cuMemFree_v2", Needs::kContextOutsideCapture);
  if (entry.result != SUCCESS) return entry.result;
  if (pointer == 0) return SUCCESS;
  ++machine().statistics.waits;
  machine().queue.wait_all(entry.ordinal());
  const Allocation* allocation = machine().memory.find(bytes_at(pointer));
  if (allocation == nullptr || allocation->device == kHost) return ERROR_INVALID_VALUE;
  if (allocation->data != bytes_at(pointer)) return ERROR_INVALID_VALUE;
  unwatch_memory(allocation->data);
  machine().memory.release(allocation->data);
  return entry.device().broken;
}

int cuMemAllocHost_v2(void** pointer, std::size_t bytes) {
  const Entry entry("cuMemAllocHost_v2", Needs::kContextOutsideCapture);
  if (entry.result != SUCCESS) return entry.result;
  if (pointer == nullptr || bytes == 0) return ERROR_INVALID_VALUE;
  std::byte* data = machine().memory.allocate(kHost, bytes);
  if (data == nullptr) return ERROR_OUT_OF_MEMORY;
  watch_memory(data, bytes);
  note_written(data, bytes);  // the host writes it unseen
  *pointer = data;
  return SUCCESS;
}

int cuMemFreeHost(void* pointer) {
  const Entry entry("cuMemFreeHost", Needs::kContextOutsideCapture);
  if (entry.result != SUCCESS) return entry.result;
  machine().queue.wait_all(entry.ordinal());
  if (!is_pinned(pointer) || machine().memory.find(pointer)->data != pointer) return ERROR_INVALID_VALUE;
  unwatch_memory(static_cast<std::byte*>(pointer));
  machine().memory.release(static_cast<std::byte*>(pointer));
  return SUCCESS;
}

int cuMemGetInfo_v2(std::size_t* available, std::size_t* total) {
  const Entry entry("cuMemGetInfo_v2", Needs::kContext);
  if (entry.result != SUCCESS) return entry.result;
  const std::size_t used = machine().memory.live_bytes(entry.ordinal());
  *total = entry.device().memory;
  *available = *total > used ? *total - used : 0;
  return SUCCESS;
}

int cuMemsetD8Async(DevicePointer to, unsigned char value, std::size_t bytes, StreamHandle handle) {
  const Entry entry("cuMemsetD8Async", Needs::kContext);
  if (entry.result != SUCCESS) return entry.result;
  StreamObject* stream = stream_of(entry, handle);
  if (stream == nullptr) return ERROR_INVALID_HANDLE;
  if (bytes == 0) return SUCCESS;
  if (!machine().memory.holds(bytes_at(to), bytes, entry.ordinal())) return ERROR_INVALID_VALUE;
  std::byte* target = bytes_at(to);
  return enqueue(entry, *stream, sized("memset", bytes), [=] {
    std::memset(target, value, bytes);
    note_written(target, bytes);
  });
}

int cuMemcpyHtoDAsync_v2(DevicePointer to, const void* from, std::size_t bytes, StreamHandle handle) {
  const Entry entry("cuMemcpyHtoDAsync_v2", Needs::kContext);
  if (entry.result != SUCCESS) return entry.result;
  StreamObject* stream = stream_of(entry, handle);
  return stream == nullptr ? ERROR_INVALID_HANDLE : copy_to_device(entry, *stream, to, from, bytes);
}

int cuMemcpyDtoHAsync_v2(void* to, DevicePointer from, std::size_t bytes, StreamHandle handle) {
  const Entry entry("cuMemcpyDtoHAsync_v2", Needs::kContext);
  if (entry.result != SUCCESS) return entry.result;
  StreamObject* stream = stream_of(entry, handle);
  return stream == nullptr ? ERROR_INVALID_HANDLE : copy_to_host(entry, *stream, to, from, bytes);
}

int cuMemcpyDtoDAsync_v2(DevicePointer to, DevicePointer from, std::size_t bytes, StreamHandle handle) {
  const Entry entry("cuMemcpyDtoDAsync_v2", Needs::kContext);
  if (entry.result != SUCCESS) return entry.result;
  StreamObject* stream = stream_of(entry, handle);
  if (stream == nullptr) return ERROR_INVALID_HANDLE;
  if (bytes == 0) return SUCCESS;
  const Memory& memory = machine().memory;
  if (!memory.holds(bytes_at(to), bytes, entry.ordinal()) || !memory.holds(bytes_at(from), bytes, entry.ordinal()))
    return ERROR_INVALID_VALUE;
  std::byte* target = bytes_at(to);
  const std::byte* source = bytes_at(from);
  return enqueue(entry, *stream, sized("copy on the device", bytes), [=] { write(target, source, bytes); });
}

int cuMemcpyHtoD_v2(DevicePointer to, const void* from, std::size_t bytes) {
  const Entry entry("cuMemcpyHtoD_v2", Needs::kContextOutsideCapture);
  if (entry.result != SUCCESS) return entry.result;
  const int result = copy_to_device(entry, entry.device().legacy, to, from, bytes);
  machine().queue.wait(entry.device().legacy.tail);
  return result != SUCCESS ? result : entry.device().broken;
}

int cuMemcpyDtoH_v2(void* to, DevicePointer from, std::size_t bytes) {
  const Entry entry("cuMemcpyDtoH_v2", Needs::kContextOutsideCapture);
  if (entry.result != SUCCESS) return entry.result;
  const int result = copy_to_host(entry, entry.device().legacy, to, from, bytes);
  machine().queue.wait(entry.device().legacy.tail);
  return result != SUCCESS ? result : entry.device().broken;
}

int cuPointerGetAttribute(void* value, int attribute, DevicePointer pointer) {
  const Entry entry("cuPointerGetAttribute", Needs::kContext);
  if (entry.result != SUCCESS) return entry.result;
  const Allocation* allocation = machine().memory.find(bytes_at(pointer));
  if (allocation == nullptr) return ERROR_INVALID_VALUE;  // memory that the driver did not give
  if (attribute == kPointerMemoryType) {
    *static_cast<unsigned*>(value) = allocation->device == kHost ? 1 : kMemoryTypeDevice;
  } else if (attribute == kPointerDeviceOrdinal) {
    *static_cast<int*>(value) = allocation->device == kHost ? 0 : allocation->device;
  } else {
    machine().problem("cuPointerGetAttribute: the stand-in does not know attribute " + std::to_string(attribute));
    return ERROR_INVALID_VALUE;
  }
  return SUCCESS;
}

}  // extern "C"
