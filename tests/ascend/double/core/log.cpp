// SPDX-License-Identifier: Apache-2.0
#include "log.h"

#include <cstdio>
#include <cstdlib>
#include <mutex>

#include "failure.h"
#include "settings.h"

namespace ascend_double {

namespace {

struct Log {
  std::mutex mutex;
  std::vector<std::string> violations;
};

Log& log() {
  static Log* const instance = new Log;  // never destroyed: worker threads may speak while the process ends
  return *instance;
}

thread_local std::string recent_message;
thread_local std::string handed_out;

}  // namespace

void note_violation(const char* kind, const std::string& message) {
  const std::string line = std::string(kind) + ": " + message;
  const std::string reaction = settings().on_violation();
  {
    std::lock_guard<std::mutex> lock(log().mutex);
    log().violations.push_back(line);
  }
  if (reaction != "record") std::fprintf(stderr, "[ascend double] violation: %s\n", line.c_str());
  if (reaction == "abort") std::abort();
}

std::vector<std::string> violations() {
  std::lock_guard<std::mutex> lock(log().mutex);
  return log().violations;
}

void clear_violations() {
  std::lock_guard<std::mutex> lock(log().mutex);
  log().violations.clear();
}

void set_recent_message(const std::string& message) { recent_message = message; }

const char* take_recent_message() {
  if (recent_message.empty()) return nullptr;
  handed_out.swap(recent_message);
  recent_message.clear();
  return handed_out.c_str();
}

}  // namespace ascend_double
