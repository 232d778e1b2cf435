// SPDX-License-Identifier: Apache-2.0
// How a function of the double becomes an exported name.
//
// The name is an indirect function (ifunc): the dynamic linker asks the resolver when dlsym looks the name up, and a
// NULL answer makes dlsym say that the name does not exist. So one build plays every version of CANN. (dlerror() is
// then NULL, unlike for a name that the file truly lacks.) Every call is counted, may be told to fail, and turns a
// Failure into the code that the caller sees and the text that aclGetRecentErrMsg gives.
#pragma once

#include <type_traits>

#include "failure.h"
#include "settings.h"

namespace ascend_double {

template <class Result>
Result refusal(int code) {
  if constexpr (std::is_pointer_v<Result>) {
    return nullptr;
  } else {
    return static_cast<Result>(code);
  }
}

// kOnFault: what such a call does even though it fails, (code, arguments...); nullptr: nothing.
template <class Name, auto kFunction, auto kOnFault>
struct Entry;

template <class Name, auto kOnFault, class Result, class... Arguments, Result (*kFunction)(Arguments...)>
struct Entry<Name, kFunction, kOnFault> {
  static Result call(Arguments... arguments) {
    try {
      if (const int fault = settings().count_call(Name::kValue)) {
        if constexpr (!std::is_null_pointer_v<decltype(kOnFault)>) kOnFault(fault, arguments...);
        fail(fault, "told to fail by MOEKIT_ASCEND_DOUBLE_FAULTS");
      }
      return kFunction(arguments...);
    } catch (const Failure& failure) {
      set_recent_message(text("E", failure.code, ": [", Name::kValue, "] ", failure.message));
      return refusal<Result>(failure.code);
    }
  }
};

}  // namespace ascend_double

#define ASCEND_DOUBLE_EXPORT(symbol, function) ASCEND_DOUBLE_EXPORT_WITH(symbol, function, nullptr)

#define ASCEND_DOUBLE_EXPORT_WITH(symbol, function, on_fault)                                               \
  namespace {                                                                                               \
  struct Name_##symbol {                                                                                    \
    static constexpr const char* kValue = #symbol;                                                          \
  };                                                                                                        \
  }                                                                                                         \
  extern "C" {                                                                                              \
  __attribute__((visibility("hidden"))) void (*ascend_double_resolve_##symbol())() {                        \
    if (!::ascend_double::settings().present(#symbol)) return nullptr;                                      \
    return reinterpret_cast<void (*)()>(&::ascend_double::Entry<Name_##symbol, &function, on_fault>::call); \
  }                                                                                                         \
  __attribute__((visibility("default"), ifunc("ascend_double_resolve_" #symbol))) void symbol();            \
  }
