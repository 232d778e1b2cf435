// SPDX-License-Identifier: Apache-2.0
#include "event.h"

#include "failure.h"
#include "graph.h"

namespace ascend_double {

void Mark::reach() {
  std::lock_guard<std::mutex> lock(mutex_);
  reached_ = true;
  time_ = std::chrono::steady_clock::now();
  changed_.notify_all();
}

bool Mark::reached() {
  std::lock_guard<std::mutex> lock(mutex_);
  return reached_;
}

void Mark::wait() {
  if (const std::shared_ptr<Stream> recording = stream_.lock()) recording->advance();
  std::unique_lock<std::mutex> lock(mutex_);
  changed_.wait(lock, [this] { return reached_; });
}

std::chrono::steady_clock::time_point Mark::time() {
  std::lock_guard<std::mutex> lock(mutex_);
  return time_;
}

void record(const std::shared_ptr<Event>& event, const std::shared_ptr<Stream>& stream) {
  if (const std::shared_ptr<Graph> graph = stream->graph()) {
    const Clock clock = graph->clock(stream->id());
    std::lock_guard<std::mutex> lock(event->mutex);
    event->graph = graph;
    event->graph_clock = clock;
    event->mark.reset();
    return;
  }
  auto mark = std::make_shared<Mark>(stream, order().clock(stream->id()));
  {
    std::lock_guard<std::mutex> lock(event->mutex);
    event->mark = mark;
    event->graph.reset();
  }
  stream->enqueue({"aclrtRecordEvent", {}, [mark] { mark->reach(); }}, false);
}

void wait_for(const std::shared_ptr<Stream>& stream, const std::shared_ptr<Event>& event) {
  std::shared_ptr<Mark> mark;
  std::shared_ptr<Graph> event_graph;
  Clock graph_clock;
  {
    std::lock_guard<std::mutex> lock(event->mutex);
    mark = event->mark;
    event_graph = event->graph.lock();
    graph_clock = event->graph_clock;
  }
  const std::shared_ptr<Graph> stream_graph = stream->graph();
  if (event_graph && event_graph->open()) {
    event_graph->join(stream, graph_clock);
    return;
  }
  if (!mark) violate("event not recorded", code::kRtParamInvalid, "a stream waits for an event that nothing records");
  if (stream_graph) {
    stream_graph->invalidate();
    violate("capture", code::kRtStreamCaptured, "a captured stream waits for an event recorded outside of the capture");
  }
  order().wait(stream->id(), mark->clock());
  stream->enqueue({"aclrtStreamWaitEvent", {}, [mark] { mark->wait(); }}, false);
}

}  // namespace ascend_double
