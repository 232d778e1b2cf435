// SPDX-License-Identifier: Apache-2.0
// What tests ask of the double: names that no CANN library has. Found with dlsym in any of the double's libraries.
#include "control.h"

#include <cstdio>
#include <cstring>

#include "context.h"
#include "log.h"
#include "pinned.h"
#include "settings.h"

namespace ascend_double {

namespace {

int end_of_process() {
  size_t left = device_memory().live_blocks() + pinned_memory().live();
  std::string what = text(left, " memory blocks");
  for (const HandleTableBase* table : HandleTableBase::all()) {
    if (table == &contexts()) continue;  // a context without streams, events and memory holds nothing
    left += table->live();
    if (table->live() > 0) what += text(", ", table->live(), " ", table->kind(), " handles");
  }
  if (left == 0) return 0;
  std::fprintf(stderr, "[ascend double] leaked at the end of the process: %s\n", what.c_str());
  return 1;
}

struct AtEnd {
  ~AtEnd() {
    const std::string leaks = settings().leaks();
    if (leaks == "off" || end_of_process() == 0 || leaks != "fail") return;
    std::fflush(nullptr);
    std::_Exit(86);
  }
};
AtEnd at_end;

}  // namespace

}  // namespace ascend_double

using namespace ascend_double;

extern "C" {

int ascend_double_set(const char* name, const char* value) {
  return name != nullptr && value != nullptr && settings().set(name, value) ? 0 : 1;
}

void ascend_double_reset() {
  settings().reset();
  settings().clear_calls();
  clear_violations();
}

uint64_t ascend_double_violations() { return violations().size(); }

uint64_t ascend_double_violation(uint64_t index, char* text_out, uint64_t size) {
  const std::vector<std::string> all = violations();
  if (index >= all.size()) return 0;
  if (text_out != nullptr && size > 0) {
    std::strncpy(text_out, all[index].c_str(), size - 1);
    text_out[size - 1] = '\0';
  }
  return all[index].size();
}

uint64_t ascend_double_live(const char* kind) {
  if (std::strcmp(kind, "block") == 0) return device_memory().live_blocks();
  if (std::strcmp(kind, "pinned block") == 0) return pinned_memory().live();
  for (const HandleTableBase* table : HandleTableBase::all()) {
    if (std::strcmp(kind, table->kind()) == 0) return table->live();
  }
  return 0;
}

uint64_t ascend_double_calls(const char* symbol) { return settings().calls(symbol); }

uint64_t ascend_double_used_bytes(int device) { return device_memory().used(device); }

int ascend_double_peek(const void* device_address, uint64_t bytes, void* host) {
  try {
    const Region region = device_memory().region(device_address, bytes, false, "ascend_double_peek");
    std::memcpy(host, region.data(), bytes);
    return 0;
  } catch (const Failure& failure) {
    return failure.code;
  }
}

}  // extern "C"
