// SPDX-License-Identifier: Apache-2.0
// The double's libraries as a program meets them: dlopen, dlsym, C calls. Nothing of the double's own headers is used.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

namespace double_test {

// Numbers of the interface, declared once more.
enum : int {
  kFloat = 0,
  kHalf = 1,
  kInt8 = 2,
  kInt32 = 3,
  kUint8 = 4,
  kInt64 = 9,
  kBool = 12,
  kBfloat = 27,
  kInt4 = 29
};
enum : int { kHostToDevice = 1, kDeviceToHost = 2, kDeviceToDevice = 3 };

// NULL where no library of the double has the name.
void* find(const char* name);

// call<int>("aclrtFree", pointer): the argument types are taken as they are, so 64-bit ones are written as int64_t.
template <class Result, class... Arguments>
Result call(const char* name, Arguments... arguments) {
  void* const address = find(name);
  if (address == nullptr) throw std::string(name) + " is absent";
  return reinterpret_cast<Result (*)(Arguments...)>(address)(arguments...);
}

template <class... Arguments>
int status(const char* name, Arguments... arguments) {
  return call<int>(name, arguments...);
}

// Violations so far whose text begins with the kind; all for "".
int violations(const std::string& kind = "");
void set(const char* name, const char* value);
uint64_t live(const char* kind);
std::string recent_message();

}  // namespace double_test
