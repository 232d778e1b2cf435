// SPDX-License-Identifier: Apache-2.0
// The control functions of the double, where that is what MOEKIT_ASCEND_LIBRARY_PATH names.
#pragma once

#include <cstdint>
#include <string>

namespace moekit::ascend_test {

struct Control {
  int (*set)(const char* name, const char* value) = nullptr;
  void (*reset)() = nullptr;
  std::uint64_t (*violations)() = nullptr;
  std::uint64_t (*violation)(std::uint64_t index, char* text, std::uint64_t size) = nullptr;
  std::uint64_t (*live)(const char* kind) = nullptr;
  std::uint64_t (*calls)(const char* symbol) = nullptr;
  explicit operator bool() const noexcept { return set != nullptr; }
};
/// All null with a real CANN.
const Control& control();
/// Texts of all violations so far, empty when there are none.
std::string violations();

}  // namespace moekit::ascend_test
