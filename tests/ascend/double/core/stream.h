// SPDX-License-Identifier: Apache-2.0
// A stream: a queue, and a worker thread that takes its time over each task. In the lazy mode nothing runs until
// something waits for it, so whoever forgets to wait always reads poison.
#pragma once

#include <condition_variable>
#include <cstdint>
#include <deque>
#include <functional>
#include <memory>
#include <mutex>
#include <thread>
#include <vector>

#include "failure.h"
#include "memory.h"
#include "order.h"

namespace ascend_double {

class Graph;

struct Task {
  const char* name = "";
  std::vector<Region> touches;
  std::function<void()> run;  // throws Failure
};

struct Context {
  int device = 0;
  std::shared_ptr<class Stream> default_stream;  // what NULL means
};

class Stream : public std::enable_shared_from_this<Stream> {
 public:
  Stream(std::weak_ptr<Context> context, int device, bool is_default);
  ~Stream();

  // Queues the task, or records it where the stream is being captured. Throws Failure for a race.
  void submit(Task task);
  // Queues without the checks of order: events, graphs. Returns the task's count.
  uint64_t enqueue(Task task, bool counted);
  // Waits until everything queued so far is done. Throws the first Failure since the last wait, kRtSyncTimeout after
  // timeout_ms (negative: no limit).
  void synchronize(int64_t timeout_ms = -1);
  bool idle();     // in the lazy mode each question lets one more task run
  void advance();  // lazy mode: lets all that is queued run
  void set_stop_on_error(bool stop);

  uint32_t id() const { return id_; }
  int device() const { return device_; }
  bool is_default() const { return is_default_; }
  std::shared_ptr<Context> context() const { return context_.lock(); }

  std::shared_ptr<Graph> graph();
  void set_graph(std::shared_ptr<Graph> graph);

 private:
  void work();
  void run(Task& task);

  const uint32_t id_;
  const std::weak_ptr<Context> context_;
  const int device_;
  const bool is_default_;
  std::mutex mutex_;
  std::condition_variable wake_, progress_;
  std::deque<Task> queue_;
  uint64_t queued_ = 0, done_ = 0, allowed_ = 0;
  bool stop_ = false, stop_on_error_ = false;
  Failure error_{0, ""};
  std::shared_ptr<Graph> graph_;
  std::thread thread_;
};

}  // namespace ascend_double
