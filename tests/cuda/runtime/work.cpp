// SPDX-License-Identifier: Apache-2.0
// How streams, events and captures put work in order.
#include "cuda/runtime/machine.h"

namespace moekit::standin {

std::set<std::size_t> ancestors(const std::vector<Node>& nodes, const std::vector<std::size_t>& from) {
  std::set<std::size_t> seen;
  std::vector<std::size_t> todo = from;
  while (!todo.empty()) {
    const std::size_t node = todo.back();
    todo.pop_back();
    if (seen.insert(node).second) todo.insert(todo.end(), nodes[node].after.begin(), nodes[node].after.end());
  }
  return seen;
}

cuda::StreamObject* stream_of(const Entry& entry, cuda::StreamHandle handle) {
  if (handle == nullptr || handle == reinterpret_cast<cuda::StreamHandle>(1)) return &entry.device().legacy;
  if (machine().streams.count(handle) == 0) return nullptr;
  return handle->context->device == entry.ordinal() ? handle : nullptr;
}

namespace {

// What an operation of the stream comes after. The default stream waits for all streams that were not made with
// "non-blocking", and they for it.
std::vector<OperationPtr> before(const Entry& entry, cuda::StreamObject& stream) {
  std::vector<OperationPtr> list{stream.tail};
  cuda::StreamObject& legacy = entry.device().legacy;
  if (&stream == &legacy) {
    for (cuda::StreamObject* other : machine().streams)
      if (other->context == legacy.context && !other->non_blocking) list.push_back(other->tail);
  } else if (!stream.non_blocking) {
    list.push_back(legacy.tail);
  }
  return list;
}

// Work of the default stream while a blocking stream captures would tie the capture to what is outside of it.
bool ties_a_capture(const Entry& entry, const cuda::StreamObject& stream) {
  if (&stream != &entry.device().legacy) return false;
  bool ties = false;
  for (cuda::StreamObject* other : machine().streams) {
    if (other->context != stream.context || other->non_blocking || other->capture == nullptr) continue;
    other->capture->invalid = ERROR_STREAM_CAPTURE_INVALIDATED;
    ties = true;
  }
  return ties;
}

}  // namespace

int enqueue(const Entry& entry, cuda::StreamObject& stream, std::string what, std::function<void()> run) {
  if (stream.capture != nullptr) {
    Capture& capture = *stream.capture;
    if (capture.invalid != SUCCESS) return capture.invalid;
    capture.nodes.push_back({std::move(what), std::move(run), stream.capture_after});
    stream.capture_after = {capture.nodes.size() - 1};
    return SUCCESS;
  }
  if (ties_a_capture(entry, stream)) return ERROR_STREAM_CAPTURE_IMPLICIT;
  stream.tail = machine().queue.add(std::move(what), entry.ordinal(), std::move(run), before(entry, stream));
  return SUCCESS;
}

OperationPtr everything_of(const Entry& entry, cuda::StreamObject& stream) {
  return machine().queue.add("wait", entry.ordinal(), nullptr, before(entry, stream));
}

}  // namespace moekit::standin
