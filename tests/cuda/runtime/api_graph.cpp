// SPDX-License-Identifier: Apache-2.0
// Stream capture and graphs.
#include <algorithm>

#include "cuda/runtime/machine.h"

using namespace moekit::standin;
using namespace moekit::cuda;

namespace {

constexpr int kCaptureStatusActive = 1, kCaptureStatusInvalidated = 2;

// Ends a capture for all streams in it. Events recorded in it see that it is over by its empty list of streams.
void close_capture(Capture& capture) {
  for (StreamObject* stream : machine().streams) {
    if (stream->capture.get() != &capture) continue;
    stream->capture_after.clear();
    stream->capture.reset();
  }
  capture.streams.clear();
}

// Every stream that joined must have been waited for by the origin.
bool all_joined(const Capture& capture, const StreamObject& origin) {
  const std::set<std::size_t> reached = ancestors(capture.nodes, origin.capture_after);
  for (const StreamObject* stream : machine().streams) {
    if (stream->capture.get() != &capture) continue;
    const auto& last = stream->capture_after;
    if (!std::all_of(last.begin(), last.end(), [&](std::size_t node) { return reached.count(node) != 0; }))
      return false;
  }
  return true;
}

}  // namespace

extern "C" {

int cuStreamIsCapturing(StreamHandle handle, int* status) {
  const Entry entry("cuStreamIsCapturing", Needs::kContext);
  if (entry.result != SUCCESS) return entry.result;
  const StreamObject* stream = stream_of(entry, handle);
  if (stream == nullptr) return ERROR_INVALID_HANDLE;
  *status = stream->capture == nullptr            ? kCaptureStatusNone
            : stream->capture->invalid == SUCCESS ? kCaptureStatusActive
                                                  : kCaptureStatusInvalidated;
  return SUCCESS;
}

int cuStreamBeginCapture_v2(StreamHandle handle, int mode) {
  const Entry entry("cuStreamBeginCapture_v2", Needs::kContext);
  if (entry.result != SUCCESS) return entry.result;
  StreamObject* stream = stream_of(entry, handle);
  if (stream == nullptr) return ERROR_INVALID_HANDLE;
  if (stream == &entry.device().legacy) return ERROR_STREAM_CAPTURE_UNSUPPORTED;  // the default stream cannot
  if (stream->capture != nullptr || mode < 0 || mode > 2) return ERROR_INVALID_VALUE;
  auto capture = std::make_shared<Capture>();
  capture->device = entry.ordinal();
  capture->mode = mode;
  capture->thread = std::this_thread::get_id();
  capture->origin = stream;
  capture->streams.insert(stream);
  stream->capture = capture;
  stream->capture_after.clear();
  machine().captures.push_back(capture);
  return SUCCESS;
}

int cuStreamEndCapture(StreamHandle handle, Graph* graph) {
  const Entry entry("cuStreamEndCapture", Needs::kContext);
  if (entry.result != SUCCESS) return entry.result;
  StreamObject* stream = stream_of(entry, handle);
  if (stream == nullptr) return ERROR_INVALID_HANDLE;
  if (stream->capture == nullptr || stream->capture->origin != stream) return ERROR_STREAM_CAPTURE_UNMATCHED;
  const std::shared_ptr<Capture> capture = stream->capture;
  const int result = capture->invalid != SUCCESS      ? capture->invalid
                     : !all_joined(*capture, *stream) ? static_cast<int>(ERROR_STREAM_CAPTURE_UNJOINED)
                                                      : static_cast<int>(SUCCESS);
  close_capture(*capture);
  auto& captures = machine().captures;
  captures.erase(std::remove_if(captures.begin(), captures.end(), [&](const auto& c) { return c.lock() == capture; }),
                 captures.end());
  *graph = nullptr;
  if (result != SUCCESS) return result;
  auto* made = new GraphObject{capture->device, capture->nodes};
  machine().graphs.insert(made);
  *graph = made;
  return SUCCESS;
}

int cuGraphGetNodes(Graph graph, void** nodes, std::size_t* count) {
  const Entry entry("cuGraphGetNodes", Needs::kDriver);
  if (entry.result != SUCCESS) return entry.result;
  if (machine().graphs.count(graph) == 0 || nodes != nullptr) return ERROR_INVALID_VALUE;  // only their number
  *count = graph->nodes.size();
  return SUCCESS;
}

int cuGraphInstantiateWithFlags(GraphExec* exec, Graph graph, unsigned long long flags) {
  const Entry entry("cuGraphInstantiateWithFlags", Needs::kContextOutsideCapture);
  if (entry.result != SUCCESS) return entry.result;
  if (exec == nullptr || machine().graphs.count(graph) == 0 || flags != 0) return ERROR_INVALID_VALUE;
  *exec = new GraphExecObject{graph->device, graph->nodes, nullptr};
  machine().graph_execs.insert(*exec);
  return SUCCESS;
}

int cuGraphLaunch(GraphExec exec, StreamHandle handle) {
  const Entry entry("cuGraphLaunch", Needs::kContext);
  if (entry.result != SUCCESS) return entry.result;
  StreamObject* stream = stream_of(entry, handle);
  if (machine().graph_execs.count(exec) == 0) return ERROR_INVALID_VALUE;
  if (stream == nullptr || exec->device != entry.ordinal()) return ERROR_INVALID_HANDLE;
  if (stream->capture != nullptr) {
    machine().problem("cuGraphLaunch: the stand-in does not capture graphs in graphs");
    return ERROR_STREAM_CAPTURE_UNSUPPORTED;
  }
  Queue& queue = machine().queue;
  const OperationPtr begin =
      queue.add("begin of a graph", entry.ordinal(), nullptr, {everything_of(entry, *stream), exec->last});
  std::vector<OperationPtr> operations, all{begin};
  for (const Node& node : exec->nodes) {
    std::vector<OperationPtr> after{begin};
    for (const std::size_t earlier : node.after) after.push_back(operations[earlier]);
    operations.push_back(queue.add(node.what, entry.ordinal(), node.run, std::move(after)));
  }
  all.insert(all.end(), operations.begin(), operations.end());
  exec->last = stream->tail = queue.add("end of a graph", entry.ordinal(), nullptr, std::move(all));
  return SUCCESS;
}

int cuGraphDestroy(Graph graph) {
  const Entry entry("cuGraphDestroy", Needs::kDriver);
  if (entry.result != SUCCESS) return entry.result;
  if (machine().graphs.erase(graph) == 0) return ERROR_INVALID_VALUE;
  delete graph;
  return SUCCESS;
}

int cuGraphExecDestroy(GraphExec exec) {
  const Entry entry("cuGraphExecDestroy", Needs::kDriver);
  if (entry.result != SUCCESS) return entry.result;
  if (machine().graph_execs.erase(exec) == 0) return ERROR_INVALID_VALUE;
  machine().queue.wait(exec->last);
  delete exec;
  return SUCCESS;
}

}  // extern "C"
