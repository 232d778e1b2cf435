// SPDX-License-Identifier: Apache-2.0
// Checks of configuration fields. Every failure names the field, the value seen and the limit.
#pragma once

#include <cmath>
#include <cstdint>
#include <stdexcept>
#include <string>

namespace moekit {

struct Checker {
  const char* operation;

  [[noreturn]] void fail(const std::string& field, const std::string& value, const std::string& limit) const {
    throw std::invalid_argument("[" + std::string(operation) + "] " + field + " = " + value + ", expected " + limit);
  }
  void in_range(const char* field, std::int64_t value, std::int64_t low, std::int64_t high) const {
    if (value < low || value > high)
      fail(field, std::to_string(value), std::to_string(low) + " .. " + std::to_string(high));
  }
  void finite(const char* field, double value) const {
    if (!std::isfinite(value)) fail(field, std::to_string(value), "a finite number");
  }
  void not_negative(const char* field, double value) const {
    if (!std::isfinite(value) || value < 0.0) fail(field, std::to_string(value), "a finite number >= 0");
  }
  void positive(const char* field, double value) const {
    if (!std::isfinite(value) || value <= 0.0) fail(field, std::to_string(value), "a finite number > 0");
  }
  /// Values of an enum that came from outside (a cast of an integer) may lie outside its list.
  template <class Enum>
  void in_enum(const char* field, Enum value, Enum last) const {
    in_range(field, static_cast<std::int64_t>(value), 0, static_cast<std::int64_t>(last));
  }
};

}  // namespace moekit
