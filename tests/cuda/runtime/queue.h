// SPDX-License-Identifier: Apache-2.0
// Work of the pretended devices: operations with what must be done before them, run one at a time in any order that
// respects it. Streams, events and graphs are only ways to say what comes before what.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <random>
#include <string>
#include <vector>

#include "cuda/runtime/control.h"

namespace moekit::standin {

struct Operation {
  std::string what;
  int device = 0;
  std::function<void()> run;  // empty: only marks a point
  std::vector<std::shared_ptr<Operation>> after;
  bool done = false;
};
using OperationPtr = std::shared_ptr<Operation>;

class Queue {
 public:
  explicit Queue(std::function<void(const Operation&)> runner) : runner_(std::move(runner)) {}
  void set_schedule(Schedule schedule, std::uint64_t seed);
  OperationPtr add(std::string what, int device, std::function<void()> run, std::vector<OperationPtr> after);
  /// Runs operations, chosen by the schedule, until this one is done; null: nothing to wait for.
  void wait(const OperationPtr& operation);
  void wait_all(int device);
  /// Runs some operations, as time passing would.
  void breathe();
  std::size_t pending() const { return pending_.size(); }

 private:
  void run_one();

  std::function<void(const Operation&)> runner_;
  std::vector<OperationPtr> pending_;  // in the order they came: the first is always ready
  Schedule schedule_ = Schedule::kRandom;
  std::mt19937_64 random_{1};
  unsigned eighths_ = 8;  // of an operation that are done after each call
};

}  // namespace moekit::standin
