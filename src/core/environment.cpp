// SPDX-License-Identifier: Apache-2.0
#include "core/environment.h"

#include <cerrno>
#include <cstdlib>
#include <stdexcept>

namespace moekit {

std::string environment(const char* name) {
  const char* value = std::getenv(name);
  return value != nullptr ? value : "";
}

long environment_integer(const char* name, long low, long high, long fallback) {
  const std::string text = environment(name);
  if (text.empty()) return fallback;
  char* end = nullptr;
  errno = 0;
  const long value = std::strtol(text.c_str(), &end, 10);
  if (errno != 0 || *end != '\0' || value < low || value > high)
    throw std::invalid_argument("[environment] " + std::string(name) + "='" + text + "' is not an integer of " +
                                std::to_string(low) + " .. " + std::to_string(high));
  return value;
}

}  // namespace moekit
