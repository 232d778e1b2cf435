// SPDX-License-Identifier: Apache-2.0
#include "order.h"

#include <algorithm>

#include "failure.h"

namespace ascend_double {

Order& order() {
  static Order* const instance = new Order;
  return *instance;
}

void merge(Clock* into, const Clock& from) {
  for (const auto& [stream, count] : from) {
    uint64_t& known = (*into)[stream];
    known = std::max(known, count);
  }
}

void Order::check(const Region& region, uint32_t stream, const Clock& clock, const char* what) const {
  for (const Access& access : region.block->accesses) {
    if (access.stream == stream || (!access.write && !region.write)) continue;
    if (access.end <= region.begin || region.end <= access.begin) continue;
    const auto known = clock.find(access.stream);
    if (known != clock.end() && known->second >= access.count) continue;
    violate("race", code::kRtParamInvalid, what, region.write ? " writes" : " reads", " bytes ",
            std::max(access.begin, region.begin), "..", std::min(access.end, region.end), " of a block that ",
            access.what, " of stream ", access.stream, access.write ? " writes" : " reads",
            ", and nothing (event, synchronise) puts the one before the other");
  }
}

uint64_t Order::submit(uint32_t stream, const std::vector<Region>& touches, const char* what) {
  std::lock_guard<std::mutex> lock(mutex_);
  Clock& clock = streams_[stream];
  merge(&clock, host_);
  for (const Region& region : touches) {
    if (region.block) check(region, stream, clock, what);
  }
  const uint64_t count = ++clock[stream];
  for (const Region& region : touches) {
    if (!region.block || region.begin == region.end) continue;
    std::vector<Access>& accesses = region.block->accesses;
    // What the host has seen done, and what this access stands for from now on, need not be remembered.
    accesses.erase(std::remove_if(accesses.begin(), accesses.end(),
                                  [&](const Access& old) {
                                    const auto seen = host_.find(old.stream);
                                    if (seen != host_.end() && seen->second >= old.count) return true;
                                    return old.stream == stream && old.begin >= region.begin && old.end <= region.end &&
                                           (region.write || !old.write);
                                  }),
                   accesses.end());
    accesses.push_back({region.begin, region.end, stream, count, region.write, what});
  }
  return count;
}

void Order::wait(uint32_t stream, const Clock& clock) {
  std::lock_guard<std::mutex> lock(mutex_);
  merge(&streams_[stream], clock);
}

Clock Order::clock(uint32_t stream) {
  std::lock_guard<std::mutex> lock(mutex_);
  return streams_[stream];
}

void Order::host_saw(const Clock& clock) {
  std::lock_guard<std::mutex> lock(mutex_);
  merge(&host_, clock);
}

void Order::host_touches(const Region& region, const char* what) {
  std::lock_guard<std::mutex> lock(mutex_);
  if (region.block) check(region, 0, host_, what);  // no stream has the number 0
}

void Order::forget(uint32_t stream) {
  std::lock_guard<std::mutex> lock(mutex_);
  merge(&host_, streams_[stream]);
  streams_.erase(stream);
}

}  // namespace ascend_double
