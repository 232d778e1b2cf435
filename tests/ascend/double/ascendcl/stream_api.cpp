// SPDX-License-Identifier: Apache-2.0
// Streams and events.
#include "../core/context.h"
#include "../core/entry.h"

namespace ascend_double {
namespace {

int create_stream_with(void** handle, uint32_t priority, uint32_t flag) {
  const auto context = current_context();
  require(handle != nullptr, code::kInvalidParam, "stream is NULL");
  require(priority <= 7, code::kRtParamInvalid, "priority ", priority, " is above 7");
  require((flag & ~0xFu) == 0, code::kRtParamInvalid, "flag ", flag, " is unknown");
  *handle = streams().add(std::make_shared<Stream>(context, context->device, false));
  return code::kSuccess;
}

int create_stream(void** handle) { return create_stream_with(handle, 0, 0); }

int destroy_stream(void* handle) {
  require(handle != nullptr, code::kInvalidParam, "stream is NULL");
  const auto stream = stream_of(handle);
  if (const auto graph = stream->graph()) {
    graph->invalidate();
    violate("capture", code::kRtStreamCaptured, "the stream is being captured");
  }
  const bool idle = stream->idle();
  streams().remove(handle, code::kInvalidParam, code::kRtParamInvalid);
  if (!idle) {
    stream->advance();
    note_violation("destroyed while busy", "aclrtDestroyStream: the stream still has queued work");
  }
  return code::kSuccess;
}

int synchronize_within(void* handle, int32_t timeout_ms) {
  const auto stream = stream_of(handle);
  if (const auto graph = stream->graph()) {
    graph->invalidate();
    violate("capture", code::kRtStreamCaptured, "synchronise of a stream that is being captured");
  }
  refuse_in_capture("synchronise of a stream");
  stream->synchronize(timeout_ms);
  return code::kSuccess;
}

int synchronize(void* handle) { return synchronize_within(handle, -1); }

int synchronize_current_device() {
  const auto context = current_context();
  refuse_in_capture("synchronise of the device");
  synchronize_device(context->device);
  return code::kSuccess;
}

int query_stream(void* handle, int* status) {
  const auto stream = stream_of(handle);
  require(status != nullptr, code::kInvalidParam, "status is NULL");
  refuse_in_capture("query of a stream");
  *status = stream->idle() ? 0 : 1;
  return code::kSuccess;
}

int set_failure_mode(void* handle, uint64_t mode) {
  require(mode <= 1, code::kRtParamInvalid, "mode ", mode, " is neither 0 nor 1");
  stream_of(handle)->set_stop_on_error(mode == 1);
  return code::kSuccess;
}

int launch_host_function(void* handle, void (*function)(void*), void* argument) {
  require(function != nullptr, code::kInvalidParam, "fn is NULL");
  stream_of(handle)->submit({"aclrtLaunchHostFunc", {}, [function, argument] { function(argument); }});
  return code::kSuccess;
}

int create_event_with_flag(void** handle, uint32_t flag) {
  const auto context = current_context();
  require(handle != nullptr, code::kInvalidParam, "event is NULL");
  require(flag != 0 && (flag & ~0x7Bu) == 0, code::kRtParamInvalid, "flag ", flag, " is unknown");
  auto event = std::make_shared<Event>();
  event->device = context->device;
  event->flags = flag;
  *handle = events().add(event);
  return code::kSuccess;
}

int create_event(void** handle) { return create_event_with_flag(handle, 0x1 | 0x8); }

std::shared_ptr<Event> event_of(void* handle) {
  require_initialized();
  return events().get(handle, code::kInvalidParam, code::kRtParamInvalid);
}

std::shared_ptr<Mark> mark_of(const std::shared_ptr<Event>& event) {
  std::lock_guard<std::mutex> lock(event->mutex);
  return event->mark;
}

int destroy_event(void* handle) {
  const auto mark = mark_of(event_of(handle));
  events().remove(handle, code::kInvalidParam, code::kRtParamInvalid);
  if (mark && !mark->reached()) {
    note_violation("destroyed while busy", "aclrtDestroyEvent: its record still lies in a queue");
  }
  return code::kSuccess;
}

int record_event(void* handle, void* stream) {
  record(event_of(handle), stream_of(stream));
  return code::kSuccess;
}

int wait_event(void* stream, void* handle) {
  wait_for(stream_of(stream), event_of(handle));
  return code::kSuccess;
}

int reset_event(void* handle, void* stream) {
  const auto event = event_of(handle);
  stream_of(stream);
  std::lock_guard<std::mutex> lock(event->mutex);
  event->mark.reset();
  return code::kSuccess;
}

int query_event(void* handle, int* status) {
  require(status != nullptr, code::kInvalidParam, "status is NULL");
  refuse_in_capture("query of an event");
  const auto mark = mark_of(event_of(handle));
  *status = mark && mark->reached() ? 1 : 0;
  if (*status == 1) order().host_saw(mark->clock());
  if (*status == 0 && mark && mark->stream()) mark->stream()->idle();  // lazy queues go on when they are asked
  return code::kSuccess;
}

int synchronize_event(void* handle) {
  refuse_in_capture("synchronise of an event");
  const auto mark = mark_of(event_of(handle));
  if (!mark) violate("event not recorded", code::kRtParamInvalid, "the host waits for an event that nothing records");
  mark->wait();
  order().host_saw(mark->clock());
  return code::kSuccess;
}

int elapsed_time(float* milliseconds, void* start, void* end) {
  require(milliseconds != nullptr, code::kInvalidParam, "ms is NULL");
  const auto first = event_of(start), second = event_of(end);
  require((first->flags & second->flags & 0x8u) != 0, code::kRtParamInvalid, "an event has no time line");
  const auto from = mark_of(first), to = mark_of(second);
  require(from && to && from->reached() && to->reached(), code::kRtParamInvalid, "an event is not complete");
  *milliseconds = std::chrono::duration<float, std::milli>(to->time() - from->time()).count();
  return code::kSuccess;
}

}  // namespace
}  // namespace ascend_double

using namespace ascend_double;
ASCEND_DOUBLE_EXPORT(aclrtCreateStream, create_stream)
ASCEND_DOUBLE_EXPORT(aclrtCreateStreamWithConfig, create_stream_with)
ASCEND_DOUBLE_EXPORT(aclrtDestroyStream, destroy_stream)
ASCEND_DOUBLE_EXPORT(aclrtSynchronizeStream, synchronize)
ASCEND_DOUBLE_EXPORT(aclrtSynchronizeStreamWithTimeout, synchronize_within)
ASCEND_DOUBLE_EXPORT(aclrtSynchronizeDevice, synchronize_current_device)
ASCEND_DOUBLE_EXPORT(aclrtStreamQuery, query_stream)
ASCEND_DOUBLE_EXPORT(aclrtStreamWaitEvent, wait_event)
ASCEND_DOUBLE_EXPORT(aclrtSetStreamFailureMode, set_failure_mode)
ASCEND_DOUBLE_EXPORT(aclrtLaunchHostFunc, launch_host_function)
ASCEND_DOUBLE_EXPORT(aclrtCreateEvent, create_event)
ASCEND_DOUBLE_EXPORT(aclrtCreateEventWithFlag, create_event_with_flag)
ASCEND_DOUBLE_EXPORT(aclrtDestroyEvent, destroy_event)
ASCEND_DOUBLE_EXPORT(aclrtRecordEvent, record_event)
ASCEND_DOUBLE_EXPORT(aclrtResetEvent, reset_event)
ASCEND_DOUBLE_EXPORT(aclrtQueryEventStatus, query_event)
ASCEND_DOUBLE_EXPORT(aclrtSynchronizeEvent, synchronize_event)
ASCEND_DOUBLE_EXPORT(aclrtEventElapsedTime, elapsed_time)
