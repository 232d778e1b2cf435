// SPDX-License-Identifier: Apache-2.0
// Streams and events.
#include <algorithm>

#include "cuda/runtime/machine.h"

using namespace moekit::standin;
using namespace moekit::cuda;

namespace {

EventObject* event_of(Event handle) { return machine().events.count(handle) != 0 ? handle : nullptr; }

// Waiting for a stream that captures is an error that breaks the capture.
int refuse_if_capturing(StreamObject& stream) {
  if (stream.capture == nullptr) return SUCCESS;
  stream.capture->invalid = ERROR_STREAM_CAPTURE_INVALIDATED;
  return ERROR_STREAM_CAPTURE_UNSUPPORTED;
}

// The stream takes part in the capture in which the event was recorded, and goes on after it.
int join_capture(StreamObject& stream, const EventObject& event) {
  if (stream.capture != nullptr && stream.capture != event.capture) return ERROR_STREAM_CAPTURE_ISOLATION;
  if (stream.capture == nullptr) {
    stream.capture = event.capture;
    stream.capture_after.clear();
    event.capture->streams.insert(&stream);
  }
  for (const std::size_t node : event.capture_after)
    if (std::find(stream.capture_after.begin(), stream.capture_after.end(), node) == stream.capture_after.end())
      stream.capture_after.push_back(node);
  return SUCCESS;
}

}  // namespace

extern "C" {

int cuStreamCreate(StreamHandle* handle, unsigned flags) {
  const Entry entry("cuStreamCreate", Needs::kContext);
  if (entry.result != SUCCESS) return entry.result;
  if (handle == nullptr || flags > kStreamNonBlocking) return ERROR_INVALID_VALUE;
  auto* stream = new StreamObject();
  stream->context = &entry.device().context;
  stream->non_blocking = flags == kStreamNonBlocking;
  machine().streams.insert(stream);
  *handle = stream;
  return SUCCESS;
}

// Returns at once, as the driver: what is queued is still done.
int cuStreamDestroy_v2(StreamHandle handle) {
  const Entry entry("cuStreamDestroy_v2", Needs::kContext);
  if (entry.result != SUCCESS) return entry.result;
  if (machine().streams.count(handle) == 0) return ERROR_INVALID_HANDLE;
  if (handle->capture != nullptr) refuse_if_capturing(*handle);
  machine().streams.erase(handle);
  delete handle;
  return SUCCESS;
}

int cuStreamSynchronize(StreamHandle handle) {
  const Entry entry("cuStreamSynchronize", Needs::kContext);
  if (entry.result != SUCCESS) return entry.result;
  StreamObject* stream = stream_of(entry, handle);
  if (stream == nullptr) return ERROR_INVALID_HANDLE;
  if (const int refused = refuse_if_capturing(*stream); refused != SUCCESS) return refused;
  if (stream == &entry.device().legacy && machine().capture_forbids()) return ERROR_STREAM_CAPTURE_UNSUPPORTED;
  ++machine().statistics.waits;
  machine().queue.wait(everything_of(entry, *stream));
  return entry.device().broken;
}

int cuStreamQuery(StreamHandle handle) {
  const Entry entry("cuStreamQuery", Needs::kContextOutsideCapture);
  if (entry.result != SUCCESS) return entry.result;
  StreamObject* stream = stream_of(entry, handle);
  if (stream == nullptr) return ERROR_INVALID_HANDLE;
  machine().queue.breathe();
  return stream->tail == nullptr || stream->tail->done ? entry.device().broken : static_cast<int>(ERROR_NOT_READY);
}

int cuStreamGetCtx(StreamHandle handle, Context* context) {
  const Entry entry("cuStreamGetCtx", Needs::kDriver);
  if (entry.result != SUCCESS) return entry.result;
  if (handle == nullptr || handle == reinterpret_cast<StreamHandle>(1)) {
    if (context_stack().empty()) return ERROR_INVALID_CONTEXT;
    *context = context_stack().back();
    return SUCCESS;
  }
  if (machine().streams.count(handle) == 0) return ERROR_INVALID_HANDLE;
  *context = handle->context;
  return SUCCESS;
}

int cuStreamWaitEvent(StreamHandle handle, Event event_handle, unsigned) {
  const Entry entry("cuStreamWaitEvent", Needs::kContext);
  if (entry.result != SUCCESS) return entry.result;
  StreamObject* stream = stream_of(entry, handle);
  const EventObject* event = event_of(event_handle);
  if (stream == nullptr || event == nullptr) return ERROR_INVALID_HANDLE;
  if (!event->recorded) return SUCCESS;
  if (event->capture != nullptr && event->capture->streams.empty()) return ERROR_CAPTURED_EVENT;  // its capture ended
  if (event->capture != nullptr) return join_capture(*stream, *event);
  if (stream->capture != nullptr) {
    stream->capture->invalid = ERROR_STREAM_CAPTURE_INVALIDATED;
    return ERROR_STREAM_CAPTURE_ISOLATION;
  }
  stream->tail = machine().queue.add("wait for an event", entry.ordinal(), nullptr, {stream->tail, event->point});
  return SUCCESS;
}

int cuEventCreate(Event* handle, unsigned) {
  const Entry entry("cuEventCreate", Needs::kContext);
  if (entry.result != SUCCESS) return entry.result;
  if (handle == nullptr) return ERROR_INVALID_VALUE;
  auto* event = new EventObject();
  event->context = &entry.device().context;
  machine().events.insert(event);
  *handle = event;
  return SUCCESS;
}

int cuEventDestroy_v2(Event handle) {
  const Entry entry("cuEventDestroy_v2", Needs::kContext);
  if (entry.result != SUCCESS) return entry.result;
  if (event_of(handle) == nullptr) return ERROR_INVALID_HANDLE;
  machine().events.erase(handle);
  delete handle;
  return SUCCESS;
}

int cuEventRecord(Event event_handle, StreamHandle handle) {
  const Entry entry("cuEventRecord", Needs::kContext);
  if (entry.result != SUCCESS) return entry.result;
  StreamObject* stream = stream_of(entry, handle);
  EventObject* event = event_of(event_handle);
  if (stream == nullptr || event == nullptr || event->context != stream->context) return ERROR_INVALID_HANDLE;
  if (stream->capture != nullptr && stream->capture->invalid != SUCCESS) return stream->capture->invalid;
  event->recorded = true;
  event->capture = stream->capture;
  event->capture_after = stream->capture_after;
  event->point = stream->capture != nullptr ? nullptr : everything_of(entry, *stream);
  return SUCCESS;
}

int cuEventQuery(Event handle) {
  const Entry entry("cuEventQuery", Needs::kContextOutsideCapture);
  if (entry.result != SUCCESS) return entry.result;
  const EventObject* event = event_of(handle);
  if (event == nullptr) return ERROR_INVALID_HANDLE;
  if (event->capture != nullptr) return ERROR_CAPTURED_EVENT;
  machine().queue.breathe();
  return event->point == nullptr || event->point->done ? entry.device().broken : static_cast<int>(ERROR_NOT_READY);
}

int cuEventSynchronize(Event handle) {
  const Entry entry("cuEventSynchronize", Needs::kContextOutsideCapture);
  if (entry.result != SUCCESS) return entry.result;
  const EventObject* event = event_of(handle);
  if (event == nullptr) return ERROR_INVALID_HANDLE;
  if (event->capture != nullptr) return ERROR_CAPTURED_EVENT;
  ++machine().statistics.waits;
  machine().queue.wait(event->point);
  return entry.device().broken;
}

}  // extern "C"
