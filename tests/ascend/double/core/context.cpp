// SPDX-License-Identifier: Apache-2.0
#include "context.h"

#include <atomic>
#include <map>
#include <mutex>

#include "settings.h"

namespace ascend_double {

namespace {

std::atomic<bool> initialized_flag{false};
thread_local void* current = nullptr;

struct Primary {
  void* handle = nullptr;
  int uses = 0;
};

struct Primaries {
  std::mutex mutex;
  std::map<int, Primary> of_device;
};

Primaries& primaries() {
  static Primaries* const instance = new Primaries;
  return *instance;
}

void synchronize_all(int device) {
  Failure first{0, ""};
  const auto wait = [&](const std::shared_ptr<Stream>& stream) {
    try {
      stream->synchronize();
    } catch (const Failure& failure) {
      if (first.code == 0) first = failure;
    }
  };
  for (const auto& stream : streams().all_live()) {
    if (stream->device() == device) wait(stream);
  }
  for (const auto& each : contexts().all_live()) {
    if (each->device == device) wait(each->default_stream);
  }
  if (first.code != 0) throw first;
}

template <class T>
HandleTable<T>& make_table(const char* kind) {
  static HandleTable<T>* const instance = new HandleTable<T>(kind);
  return *instance;
}

}  // namespace

HandleTable<Context>& contexts() { return make_table<Context>("context"); }
HandleTable<Stream>& streams() { return make_table<Stream>("stream"); }
HandleTable<Event>& events() { return make_table<Event>("event"); }
HandleTable<Graph>& graphs() { return make_table<Graph>("aclmdlRI"); }

bool initialized() { return initialized_flag; }
void set_initialized(bool on) { initialized_flag = on; }
void require_initialized() { require(initialized_flag, code::kUninitialized, "aclInit was not called"); }

void check_device(int64_t device) {
  require(device >= 0 && device < settings().devices(), code::kRtInvalidDevice, "device ", device, " of ",
          settings().devices());
}

std::shared_ptr<Context> current_context() {
  require_initialized();
  require(current != nullptr, code::kRtContextNull, "this thread has no context: aclrtSetDevice was not called in it");
  return contexts().get(current, code::kRtContextNull, code::kRtContextNull);
}

void* current_context_handle() {
  current_context();
  return current;
}

void set_current_context(void* handle) {
  if (handle != nullptr) contexts().get(handle, code::kRtContextNull, code::kRtContextNull);
  current = handle;
}

void set_device(int device) {
  check_device(device);
  std::lock_guard<std::mutex> lock(primaries().mutex);
  Primary& primary = primaries().of_device[device];
  if (primary.handle == nullptr) {
    auto context = std::make_shared<Context>();
    context->device = device;
    context->default_stream = std::make_shared<Stream>(context, device, true);
    primary.handle = contexts().add(context);
  }
  ++primary.uses;
  current = primary.handle;
}

// One reset ends the device for the whole process, as the plain aclrtResetDevice of one thread does. What is left is a
// violation: it would lie in a dead context.
void reset_device(int device) {
  check_device(device);
  std::lock_guard<std::mutex> lock(primaries().mutex);
  Primary& primary = primaries().of_device[device];
  require(primary.handle != nullptr, code::kRtContextNull, "device ", device, " was not set");
  synchronize_all(device);
  size_t left_streams = 0, left_events = 0;
  for (const auto& stream : streams().all_live()) left_streams += stream->device() == device;
  for (const auto& event : events().all_live()) left_events += event->device == device;
  const size_t left_blocks = device_memory().live_blocks(device);
  if (left_streams + left_events + left_blocks > 0) {
    note_violation("leak", text("aclrtResetDevice(", device, ") with ", left_streams, " streams, ", left_events,
                                " events, ", left_blocks, " memory blocks left"));
  }
  contexts().remove(primary.handle, code::kRtContextNull, code::kRtContextNull);
  if (current == primary.handle) current = nullptr;
  primary = Primary();
}

std::shared_ptr<Stream> stream_of(void* handle) {
  const std::shared_ptr<Context> context = current_context();
  if (handle == nullptr) return context->default_stream;
  std::shared_ptr<Stream> stream = streams().get(handle, code::kRtParamInvalid, code::kRtParamInvalid);
  require(stream->context() == context, code::kRtStreamContext, "the stream belongs to device ", stream->device(),
          " and another context than this thread's (device ", context->device, ")");
  return stream;
}

void synchronize_device(int device) { synchronize_all(device); }

}  // namespace ascend_double
