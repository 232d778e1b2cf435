// SPDX-License-Identifier: Apache-2.0
// Graph capture.
#include "../core/context.h"
#include "../core/entry.h"

namespace ascend_double {
namespace {

int capture_begin(void* handle, int mode) {
  const auto stream = stream_of(handle);
  require(mode >= 0 && mode <= 2, code::kRtParamInvalid, "mode ", mode, " is unknown");
  require(!stream->is_default(), code::kRtParamInvalid, "the default stream cannot be captured");
  require(!stream->graph(), code::kRtStreamCaptured, "the stream is being captured already");
  stream->set_graph(std::make_shared<Graph>(static_cast<CaptureMode>(mode), stream));
  return code::kSuccess;
}

int capture_info(void* handle, int* status, void** graph_handle) {
  const auto stream = stream_of(handle);
  require(status != nullptr, code::kInvalidParam, "status is NULL");
  const auto graph = stream->graph();
  *status = !graph ? 0 : graph->invalid() ? 2 : 1;
  if (graph_handle != nullptr) *graph_handle = nullptr;  // the handle exists after the end of the capture
  return code::kSuccess;
}

int capture_end(void* handle, void** graph_handle) {
  const auto stream = stream_of(handle);
  require(graph_handle != nullptr, code::kInvalidParam, "modelRI is NULL");
  const auto graph = stream->graph();
  require(graph != nullptr, code::kRtParamInvalid, "the stream is not being captured");
  require(graph->origin() == stream->id(), code::kRtStreamCaptured, "the capture began on another stream");
  if (graph->mode() != CaptureMode::kRelaxed) {
    require(graph->thread() == std::this_thread::get_id(), code::kRtStreamCaptured,
            "the capture began in another thread");
  }
  graph->end();
  *graph_handle = graphs().add(graph);
  return code::kSuccess;
}

int execute(void* handle, void* stream_handle) {
  const auto graph = graphs().get(handle, code::kInvalidParam, code::kRtParamInvalid);
  const auto stream = stream_of(stream_handle);
  require(!stream->graph(), code::kRtStreamCaptured, "a graph inside a capture is not supported");
  launch(graph, stream);
  return code::kSuccess;
}

int destroy(void* handle) {
  const auto graph = graphs().remove(handle, code::kInvalidParam, code::kRtParamInvalid);
  // Queued replays hold the graph too.
  if (graph.use_count() > 1) note_violation("destroyed while busy", "aclmdlRIDestroy: a replay still lies in a queue");
  return code::kSuccess;
}

}  // namespace
}  // namespace ascend_double

using namespace ascend_double;
ASCEND_DOUBLE_EXPORT(aclmdlRICaptureBegin, capture_begin)
ASCEND_DOUBLE_EXPORT(aclmdlRICaptureGetInfo, capture_info)
ASCEND_DOUBLE_EXPORT(aclmdlRICaptureEnd, capture_end)
ASCEND_DOUBLE_EXPORT(aclmdlRIExecuteAsync, execute)
ASCEND_DOUBLE_EXPORT(aclmdlRIDestroy, destroy)
