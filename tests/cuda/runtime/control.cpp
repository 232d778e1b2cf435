// SPDX-License-Identifier: Apache-2.0
#include "cuda/runtime/control.h"

#include <utility>

#include "cuda/runtime/machine.h"

namespace moekit::standin {
namespace {

using Lock = std::lock_guard<std::recursive_mutex>;

}  // namespace

void set_schedule(Schedule schedule, std::uint64_t seed) {
  const Lock lock(machine().mutex);
  machine().queue.set_schedule(schedule, seed);
}

void fail_call(std::string_view function, int nth, int code, bool sticky) {
  const Lock lock(machine().mutex);
  machine().faults.push_back({std::string(function), nth, code, sticky});
}

void fail_kernel(int nth, int code) { fail_call("", nth, code, true); }

void clear_failures() {
  const Lock lock(machine().mutex);
  machine().faults.clear();
  for (auto& device : machine().devices) device->broken = SUCCESS;
}

void set_memory_limit(int device, std::size_t bytes) {
  const Lock lock(machine().mutex);
  if (machine().initialise()) machine().devices.at(static_cast<std::size_t>(device))->memory = bytes;
}

Statistics statistics() {
  const Lock lock(machine().mutex);
  Machine& m = machine();
  Statistics now = m.statistics;
  for (std::size_t i = 0; i < m.devices.size(); ++i) now.live_bytes += m.memory.live_bytes(static_cast<int>(i));
  now.live_allocations = m.memory.live_allocations();
  now.pending = m.queue.pending();
  return now;
}

std::uint64_t calls(std::string_view function) {
  const Lock lock(machine().mutex);
  const auto found = machine().calls.find(function);
  return found != machine().calls.end() ? found->second : 0;
}

std::vector<LaunchRecord> take_launches() {
  const Lock lock(machine().mutex);
  return std::exchange(machine().launches, {});
}

std::vector<std::string> take_problems() {
  const Lock lock(machine().mutex);
  return std::exchange(machine().problems, {});
}

void add_twin(const Twin& twin) {
  const Lock lock(machine().mutex);
  machine().twins[twin.name] = twin;
}

}  // namespace moekit::standin
