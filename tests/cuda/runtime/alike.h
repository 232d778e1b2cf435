// SPDX-License-Identifier: Apache-2.0
// Whether two functions are called alike: what a declaration of our own is held against a toolkit's by.
#pragma once

#include <type_traits>

namespace moekit::standin {

// Two parameters are passed alike when both are pointers, or both integers of one size and signedness (an enumeration
// counts as an int, as in C).
template <typename A, typename B>
constexpr bool passed_alike() {
  if constexpr (std::is_pointer_v<A> || std::is_pointer_v<B>) {
    return std::is_pointer_v<A> && std::is_pointer_v<B>;
  } else {
    return (std::is_integral_v<A> || std::is_enum_v<A>)&&(std::is_integral_v<B> || std::is_enum_v<B>)&&sizeof(A) ==
           sizeof(B);
  }
}

template <typename A, typename B>
struct Alike : std::false_type {};
template <typename R, typename... P, typename S, typename... Q>
struct Alike<R (*)(P...), S (*)(Q...)> {
  static constexpr bool parameters() {
    if constexpr (sizeof...(P) != sizeof...(Q)) {
      return false;
    } else {
      return (passed_alike<P, Q>() && ... && passed_alike<R, S>());
    }
  }
  static constexpr bool value = parameters();
};

}  // namespace moekit::standin
