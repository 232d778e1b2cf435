// SPDX-License-Identifier: Apache-2.0
// Events. Each record makes a mark; whoever waits, waits for the mark that was the latest when it asked.
#pragma once

#include <chrono>
#include <condition_variable>
#include <memory>
#include <mutex>

#include "order.h"
#include "stream.h"

namespace ascend_double {

class Mark {
 public:
  Mark(std::weak_ptr<Stream> stream, Clock clock) : stream_(std::move(stream)), clock_(std::move(clock)) {}
  void reach();
  bool reached();
  void wait();  // lets the recording stream run where queues are lazy
  std::chrono::steady_clock::time_point time();
  const Clock& clock() const { return clock_; }
  std::shared_ptr<Stream> stream() const { return stream_.lock(); }

 private:
  const std::weak_ptr<Stream> stream_;
  const Clock clock_;
  std::mutex mutex_;
  std::condition_variable changed_;
  bool reached_ = false;
  std::chrono::steady_clock::time_point time_;
};

struct Event {
  std::mutex mutex;
  int device = 0;
  uint32_t flags = 0;
  std::shared_ptr<Mark> mark;  // NULL: never recorded, or reset
  std::weak_ptr<Graph> graph;  // recorded inside this capture
  Clock graph_clock;           // which of the capture's tasks lie before it
};

void record(const std::shared_ptr<Event>& event, const std::shared_ptr<Stream>& stream);
void wait_for(const std::shared_ptr<Stream>& stream, const std::shared_ptr<Event>& event);

}  // namespace ascend_double
