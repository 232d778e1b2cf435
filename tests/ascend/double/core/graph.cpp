// SPDX-License-Identifier: Apache-2.0
#include "graph.h"

#include <algorithm>

#include "failure.h"

namespace ascend_double {

namespace {

std::mutex& open_mutex() {
  static auto* const instance = new std::mutex;
  return *instance;
}

std::vector<Graph*>& open_graphs() {
  static auto* const instance = new std::vector<Graph*>;
  return *instance;
}

void close(const Graph* graph) {
  std::lock_guard<std::mutex> lock(open_mutex());
  auto& graphs = open_graphs();
  graphs.erase(std::remove(graphs.begin(), graphs.end(), graph), graphs.end());
}

}  // namespace

Graph::Graph(CaptureMode mode, const std::shared_ptr<Stream>& origin)
    : mode_(mode),
      thread_(std::this_thread::get_id()),
      origin_(origin->id()),
      device_(origin->device()),
      streams_{origin} {
  std::lock_guard<std::mutex> lock(open_mutex());
  open_graphs().push_back(this);
}

Graph::~Graph() { close(this); }

void Graph::record(uint32_t stream, Task task) {
  std::lock_guard<std::mutex> lock(mutex_);
  ++clocks_[stream][stream];
  tasks_.push_back(std::move(task));
}

Clock Graph::clock(uint32_t stream) {
  std::lock_guard<std::mutex> lock(mutex_);
  return clocks_[stream];
}

void Graph::join(const std::shared_ptr<Stream>& stream, const Clock& clock) {
  std::lock_guard<std::mutex> lock(mutex_);
  merge(&clocks_[stream->id()], clock);
  if (std::find(streams_.begin(), streams_.end(), stream) == streams_.end()) {
    streams_.push_back(stream);
    stream->set_graph(streams_.front()->graph());
  }
}

void Graph::end() {
  close(this);
  std::lock_guard<std::mutex> lock(mutex_);
  open_ = false;
  for (const auto& stream : streams_) stream->set_graph(nullptr);
  streams_.clear();
  require(!invalid_, code::kRtStreamCaptured, "the capture became invalid before its end");
  const Clock& seen = clocks_[origin_];
  for (const auto& [stream, clock] : clocks_) {
    const auto own = clock.find(stream);
    if (own == clock.end() || stream == origin_) continue;
    const auto known = seen.find(stream);
    if (known == seen.end() || known->second < own->second) {
      invalid_ = true;
      violate("capture", code::kRtStreamCaptured, "stream ", stream,
              " was not joined back before the end of the capture");
    }
  }
}

void Graph::invalidate() {
  std::lock_guard<std::mutex> lock(mutex_);
  invalid_ = true;
}

bool Graph::open() {
  std::lock_guard<std::mutex> lock(mutex_);
  return open_;
}

bool Graph::invalid() {
  std::lock_guard<std::mutex> lock(mutex_);
  return invalid_;
}

void launch(const std::shared_ptr<Graph>& graph, const std::shared_ptr<Stream>& stream) {
  Task all;
  all.name = "aclmdlRIExecuteAsync";
  for (const Task& task : graph->tasks()) {
    for (const Region& region : task.touches) device_memory().check_live(region, "a captured task");
    all.touches.insert(all.touches.end(), task.touches.begin(), task.touches.end());
  }
  all.run = [graph] {
    for (const Task& task : graph->tasks()) task.run();
  };
  stream->submit(std::move(all));
}

void refuse_in_capture(const char* what) {
  Graph* broken = nullptr;
  {
    std::lock_guard<std::mutex> lock(open_mutex());
    for (Graph* graph : open_graphs()) {
      const bool concerned = graph->mode() == CaptureMode::kGlobal || (graph->mode() == CaptureMode::kThreadLocal &&
                                                                       graph->thread() == std::this_thread::get_id());
      if (concerned) broken = graph;
    }
    if (broken) broken->invalidate();
  }
  if (broken) violate("capture", code::kRtStreamCaptured, what, " while a capture is open");
}

}  // namespace ascend_double
