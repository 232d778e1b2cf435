// SPDX-License-Identifier: Apache-2.0
// How the double refuses: a Failure carries the documented code to the exported function, which returns it; a violation
// is a Failure that is counted besides, because it breaks the protocol (use after destroy, a race, a foreign pointer,
// ...).
#pragma once

#include <sstream>
#include <string>

#include "types.h"

namespace ascend_double {

struct Failure {
  int code;
  std::string message;
};

template <class... Parts>
std::string text(const Parts&... parts) {
  std::ostringstream out;
  (out << ... << parts);
  return out.str();
}

template <class... Parts>
[[noreturn]] void fail(int code, const Parts&... parts) {
  throw Failure{code, text(parts...)};
}

template <class... Parts>
void require(bool condition, int code, const Parts&... parts) {
  if (!condition) fail(code, parts...);
}

// Counts a violation of the protocol: kept for ascend_double_violation(i), printed, and the end of the process where
// MOEKIT_ASCEND_DOUBLE_ON_VIOLATION says "abort". `kind` is a short stable name that tests look for.
void note_violation(const char* kind, const std::string& message);

template <class... Parts>
[[noreturn]] void violate(const char* kind, int code, const Parts&... parts) {
  const std::string message = text(parts...);
  note_violation(kind, message);
  throw Failure{code, message};
}

// What aclGetRecentErrMsg of this thread will say.
void set_recent_message(const std::string& message);

}  // namespace ascend_double
