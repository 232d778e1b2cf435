// SPDX-License-Identifier: Apache-2.0
// Graph capture (aclmdlRI): the tasks that captured streams were given, in the order of submission, to be run again
// later. A stream joins by waiting for an event of the capture and has to be joined back before the end.
#pragma once

#include <memory>
#include <mutex>
#include <thread>
#include <vector>

#include "order.h"
#include "stream.h"

namespace ascend_double {

enum class CaptureMode : int { kGlobal = 0, kThreadLocal = 1, kRelaxed = 2 };

class Graph {
 public:
  Graph(CaptureMode mode, const std::shared_ptr<Stream>& origin);
  ~Graph();

  void record(uint32_t stream, Task task);
  Clock clock(uint32_t stream);
  void join(const std::shared_ptr<Stream>& stream, const Clock& clock);
  // Ends the capture on all its streams. A violation where a stream was not joined back or the capture became invalid.
  void end();
  void invalidate();

  bool open();
  bool invalid();
  CaptureMode mode() const { return mode_; }
  std::thread::id thread() const { return thread_; }
  uint32_t origin() const { return origin_; }
  int device() const { return device_; }
  const std::vector<Task>& tasks() const { return tasks_; }  // after end()

 private:
  const CaptureMode mode_;
  const std::thread::id thread_;
  const uint32_t origin_;
  const int device_;
  std::mutex mutex_;
  bool open_ = true, invalid_ = false;
  std::vector<Task> tasks_;
  std::vector<std::shared_ptr<Stream>> streams_;
  std::map<uint32_t, Clock> clocks_;
};

// Queues all tasks of the graph as one.
void launch(const std::shared_ptr<Graph>& graph, const std::shared_ptr<Stream>& stream);

// Calls that wait or allocate are illegal while a capture is open (mode global: for all threads; thread-local: for the
// thread that began it; relaxed: for nobody): violation, and the capture becomes invalid.
void refuse_in_capture(const char* what);

}  // namespace ascend_double
