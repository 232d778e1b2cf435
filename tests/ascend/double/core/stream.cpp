// SPDX-License-Identifier: Apache-2.0
#include "stream.h"

#include <atomic>
#include <chrono>
#include <random>

#include "failure.h"
#include "graph.h"
#include "settings.h"

namespace ascend_double {

namespace {

std::atomic<uint32_t> next_id{1};

}  // namespace

Stream::Stream(std::weak_ptr<Context> context, int device, bool is_default)
    : id_(next_id++), context_(std::move(context)), device_(device), is_default_(is_default), thread_([this] {
        work();
      }) {}

Stream::~Stream() {
  {
    std::lock_guard<std::mutex> lock(mutex_);
    stop_ = true;
    allowed_ = UINT64_MAX;
  }
  wake_.notify_all();
  thread_.join();
  order().forget(id_);
}

std::shared_ptr<Graph> Stream::graph() {
  std::lock_guard<std::mutex> lock(mutex_);
  return graph_;
}

void Stream::set_graph(std::shared_ptr<Graph> graph) {
  std::lock_guard<std::mutex> lock(mutex_);
  graph_ = std::move(graph);
}

void Stream::submit(Task task) {
  for (const Region& region : task.touches) {
    if (region.block && region.block->device != device_) {
      violate("wrong device", code::kRtParamInvalid, task.name, " on a stream of device ", device_,
              " uses memory of device ", region.block->device);
    }
  }
  if (const std::shared_ptr<Graph> captured = graph()) {
    captured->record(id_, std::move(task));
    return;
  }
  enqueue(std::move(task), true);
}

uint64_t Stream::enqueue(Task task, bool counted) {
  std::lock_guard<std::mutex> lock(mutex_);
  const uint64_t count = counted ? order().submit(id_, task.touches, task.name) : 0;
  queue_.push_back(std::move(task));
  ++queued_;
  if (!settings().lazy()) allowed_ = queued_;
  wake_.notify_all();
  return count;
}

void Stream::synchronize(int64_t timeout_ms) {
  Clock seen = order().clock(id_);
  std::unique_lock<std::mutex> lock(mutex_);
  const uint64_t target = queued_;
  if (allowed_ < target) allowed_ = target;
  wake_.notify_all();
  const auto reached = [&] { return done_ >= target; };
  if (timeout_ms < 0) {
    progress_.wait(lock, reached);
  } else if (!progress_.wait_for(lock, std::chrono::milliseconds(timeout_ms), reached)) {
    fail(code::kRtSyncTimeout, "stream ", id_, " is not done after ", timeout_ms, " ms");
  }
  const Failure error = error_;
  if (!stop_on_error_) error_ = {0, ""};
  lock.unlock();
  order().host_saw(seen);
  if (error.code != 0) throw error;
}

bool Stream::idle() {
  const Clock seen = order().clock(id_);
  {
    std::lock_guard<std::mutex> lock(mutex_);
    if (done_ < queued_) {
      if (allowed_ < queued_) ++allowed_;
      wake_.notify_all();
      return false;
    }
  }
  order().host_saw(seen);
  return true;
}

void Stream::advance() {
  std::lock_guard<std::mutex> lock(mutex_);
  allowed_ = queued_;
  wake_.notify_all();
}

void Stream::set_stop_on_error(bool stop) {
  std::lock_guard<std::mutex> lock(mutex_);
  stop_on_error_ = stop;
}

void Stream::run(Task& task) {
  for (const Region& region : task.touches) device_memory().check_live(region, task.name);
  task.run();
}

void Stream::work() {
  std::mt19937_64 random(settings().seed() * 2654435761u + id_);
  std::unique_lock<std::mutex> lock(mutex_);
  for (;;) {
    wake_.wait(lock, [&] { return stop_ || (!queue_.empty() && done_ < allowed_); });
    if (queue_.empty()) return;  // stop_, and drained
    Task task = std::move(queue_.front());
    queue_.pop_front();
    const bool skip = stop_on_error_ && error_.code != 0;
    lock.unlock();
    // One task in four is late, by up to the longest delay: streams overtake each other, hosts that do not wait lose.
    const uint64_t longest = settings().delay_us();
    if (longest > 0 && random() % 4 == 0) std::this_thread::sleep_for(std::chrono::microseconds(random() % longest));
    Failure error{0, ""};
    try {
      if (!skip) run(task);
    } catch (const Failure& failure) {
      error = {failure.code, text("[", task.name, "] ", failure.message)};
    }
    task = Task();
    lock.lock();
    if (error_.code == 0) error_ = error;
    ++done_;
    progress_.notify_all();
  }
}

}  // namespace ascend_double
