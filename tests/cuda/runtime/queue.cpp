// SPDX-License-Identifier: Apache-2.0
#include "cuda/runtime/queue.h"

#include <algorithm>

namespace moekit::standin {

void Queue::set_schedule(Schedule schedule, std::uint64_t seed) {
  schedule_ = schedule;
  random_.seed(seed);
  eighths_ = 1u << random_() % 5;
}

OperationPtr Queue::add(std::string what, int device, std::function<void()> run, std::vector<OperationPtr> after) {
  auto operation = std::make_shared<Operation>();
  operation->what = std::move(what);
  operation->device = device;
  operation->run = std::move(run);
  for (OperationPtr& earlier : after)
    if (earlier != nullptr && !earlier->done) operation->after.push_back(std::move(earlier));
  pending_.push_back(operation);
  if (schedule_ == Schedule::kEager) wait(operation);
  if (schedule_ == Schedule::kRandom) breathe();
  return operation;
}

void Queue::run_one() {
  std::vector<std::size_t> ready;
  for (std::size_t i = 0; i < pending_.size(); ++i) {
    const auto& after = pending_[i]->after;
    if (std::all_of(after.begin(), after.end(), [](const OperationPtr& o) { return o->done; })) ready.push_back(i);
  }
  const std::size_t choice = schedule_ == Schedule::kRandom ? ready[random_() % ready.size()] : ready.front();
  const OperationPtr operation = pending_[choice];
  pending_.erase(pending_.begin() + static_cast<std::ptrdiff_t>(choice));
  runner_(*operation);
  operation->done = true;
  operation->run = nullptr;  // lets go of copied arguments
  operation->after.clear();
}

void Queue::wait(const OperationPtr& operation) {
  while (operation != nullptr && !operation->done) run_one();
}

void Queue::wait_all(int device) {
  const auto of_device = [device](const OperationPtr& o) { return o->device == device; };
  while (std::any_of(pending_.begin(), pending_.end(), of_device)) run_one();
}

void Queue::breathe() {
  // On average 1/8 to 2 operations for each call, by the seed: from a device that hardly starts before it is waited
  // for, so that streams run into each other, to one that keeps up.
  unsigned turns = eighths_ / 8 + (random_() % 8 < eighths_ % 8 ? 1 : 0);
  for (; turns > 0 && !pending_.empty(); --turns) run_one();
}

}  // namespace moekit::standin
