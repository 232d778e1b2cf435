// SPDX-License-Identifier: Apache-2.0
#include "cuda/runtime/machine.h"

#include <cstdio>
#include <cstdlib>
#include <sstream>

namespace moekit::standin {
namespace {

int shared_optin_of(int capability) {
  switch (capability) {
    case 80: return 163 * 1024;
    case 90:
    case 100: return 227 * 1024;
    default: return 99 * 1024;  // 8.6, 8.9, 12.0
  }
}

// "sm_90:1024M": capability and, optionally, memory in MiB.
bool parse_device(const std::string& text, DeviceModel& device) {
  unsigned capability = 0, mebibytes = 1024;
  char unit = 'M';
  const int read = std::sscanf(text.c_str(), "sm_%u:%u%c", &capability, &mebibytes, &unit);
  if (read < 1 || read == 2 || unit != 'M' || capability < 50) return false;
  device.capability = static_cast<int>(capability);
  device.memory = std::size_t{mebibytes} << 20;
  device.shared_optin = shared_optin_of(device.capability);
  device.multiprocessors = 4;  // few, so that the grids of small layers still pass it
  return true;
}

bool parse_schedule(const std::string& text, Queue& queue) {
  unsigned long long seed = 1;
  if (text == "eager")
    queue.set_schedule(Schedule::kEager, 0);
  else if (text == "lazy")
    queue.set_schedule(Schedule::kLazy, 0);
  else if (std::sscanf(text.c_str(), "random:%llu", &seed) == 1)
    queue.set_schedule(Schedule::kRandom, seed);
  else
    return false;
  return true;
}

// Problems that nobody took are failures of the program that ran.
void at_end() {
  const auto& problems = machine().problems;
  if (problems.empty()) return;
  std::fprintf(stderr, "stand-in driver: %zu problems that no test took:\n", problems.size());
  for (const std::string& problem : problems) std::fprintf(stderr, "  %s\n", problem.c_str());
  std::abort();
}

}  // namespace

Machine& machine() {
  static Machine* const one = new Machine();  // outlives every static of the library
  return *one;
}

std::vector<cuda::ContextObject*>& context_stack() {
  static thread_local std::vector<cuda::ContextObject*> stack;
  return stack;
}

Machine::Machine() : queue([this](const Operation& operation) { run(operation); }) {}

bool Machine::initialise() {
  if (initialised) return true;
  const char* list = std::getenv("MOEKIT_STANDIN_DEVICES");
  const char* schedule = std::getenv("MOEKIT_STANDIN_SCHEDULE");
  std::istringstream stream(list != nullptr ? list : "sm_90,sm_80");
  std::vector<std::unique_ptr<DeviceModel>> found;
  for (std::string text; std::getline(stream, text, ',');) {
    found.push_back(std::make_unique<DeviceModel>());
    if (!parse_device(text, *found.back())) return false;
    found.back()->context.device = static_cast<int>(found.size()) - 1;
    found.back()->legacy.context = &found.back()->context;
  }
  if (!parse_schedule(schedule != nullptr ? schedule : "random:1", queue)) return false;
  devices = std::move(found);
  install_fault_handler(&memory, [] { return machine().doing; });
  std::atexit(at_end);
  return initialised = true;
}

void Machine::problem(std::string text) {
  std::fprintf(stderr, "stand-in driver: problem: %s\n", text.c_str());
  problems.push_back(std::move(text));
}

void Machine::run(const Operation& operation) {
  DeviceModel& device = *devices[static_cast<std::size_t>(operation.device)];
  if (!operation.run || device.broken != SUCCESS) return;
  memory.open(operation.device);
  doing = operation.what.c_str();
  try {
    operation.run();
  } catch (const std::exception& stopped) {  // by the checker of kernels
    problem(operation.what + ": " + stopped.what());
    device.broken = ERROR_ILLEGAL_ADDRESS;
  }
  doing = nullptr;
  for (const int place : {operation.device, kHost}) {
    const std::string wrong = memory.check_guards(place);
    if (!wrong.empty()) problem(operation.what + " wrote " + wrong);
  }
  memory.close(operation.device);
}

bool Machine::capture_forbids() {
  bool forbids = false;
  for (const auto& weak : captures) {
    const std::shared_ptr<Capture> capture = weak.lock();
    if (capture == nullptr || capture->mode == 2) continue;
    if (capture->mode == 1 && capture->thread != std::this_thread::get_id()) continue;
    capture->invalid = ERROR_STREAM_CAPTURE_INVALIDATED;
    forbids = true;
  }
  return forbids;
}

Entry::Entry(const char* function, Needs needs) : lock_(machine().mutex) {
  Machine& m = machine();
  ++m.calls[function];
  for (auto fault = m.faults.begin(); fault != m.faults.end(); ++fault) {
    if (fault->function != function || --fault->remaining > 0) continue;
    result = fault->code;
    asked_for = true;
    if (fault->sticky && !context_stack().empty())
      m.devices[static_cast<std::size_t>(context_stack().back()->device)]->broken = fault->code;
    m.faults.erase(fault);
    return;
  }
  if (needs == Needs::kNothing) return;
  if (!m.initialised) {
    result = ERROR_NOT_INITIALIZED;
    return;
  }
  if (needs == Needs::kDriver) return;
  if (context_stack().empty()) {
    result = ERROR_INVALID_CONTEXT;
    return;
  }
  device_ = context_stack().back()->device;
  result = device().broken;
  if (result == SUCCESS && needs == Needs::kContextOutsideCapture && m.capture_forbids())
    result = ERROR_STREAM_CAPTURE_UNSUPPORTED;
}

}  // namespace moekit::standin
