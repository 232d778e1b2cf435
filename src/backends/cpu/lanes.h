// SPDX-License-Identifier: Apache-2.0
// Sixteen lanes of 32 bits in registers of the including file's ISA. A vector extension type that is wider than a
// register would do, but GCC keeps such vectors in memory and takes their comparisons apart into single lanes, which
// cost AVX2 more than all else of a row: here they are a struct of whole registers, and every operation goes register
// by register. Only for kernels_*.cpp: everything is in an anonymous namespace, as in vec.h.
#pragma once

#include <cstddef>
#include <cstdint>
#include <type_traits>

#include "backends/cpu/fma.h"

namespace moekit::cpu {
namespace {

// Bytes of a register.
#if defined(__AVX512F__)
#define MOEKIT_REGISTER 64
#elif defined(__AVX2__)
#define MOEKIT_REGISTER 32
#else
#define MOEKIT_REGISTER 16
#endif

// Spelt out for each type: GCC drops a vector attribute that depends on a template parameter.
using FloatRegister = float __attribute__((vector_size(MOEKIT_REGISTER)));
using IntRegister = std::int32_t __attribute__((vector_size(MOEKIT_REGISTER)));
using WordRegister = std::uint32_t __attribute__((vector_size(MOEKIT_REGISTER)));
using ShortRegister = std::int16_t __attribute__((vector_size(MOEKIT_REGISTER)));
constexpr int kRegisters = 64 / MOEKIT_REGISTER;

/// A lambda that is part of its caller.
#define MOEKIT_INLINED __attribute__((always_inline))

#if MOEKIT_REGISTER == 64

using F16 = FloatRegister;
using I16 = IntRegister;
using U16 = WordRegister;

/// op on the registers of lanes.
template <class Op, class... V>
MOEKIT_INLINE auto by_register(const Op& op, V... v) {
  return op(v...);
}

#else

template <class T>
using RegisterOf = std::conditional_t<std::is_same_v<T, float>, FloatRegister,
                                      std::conditional_t<std::is_signed_v<T>, IntRegister, WordRegister> >;

template <class T>
struct Lanes16 {
  using One = RegisterOf<T>;
  One at[kRegisters];

  /// The same bits.
  template <class U>
  MOEKIT_INLINE explicit operator Lanes16<U>() const {
    using To = RegisterOf<U>;
    if constexpr (kRegisters == 2) return {{(To)at[0], (To)at[1]}};
    if constexpr (kRegisters == 4) return {{(To)at[0], (To)at[1], (To)at[2], (To)at[3]}};
  }
};
using F16 = Lanes16<float>;
using I16 = Lanes16<std::int32_t>;
using U16 = Lanes16<std::uint32_t>;

/// op on the registers of lanes. (Not a loop: it would be unrolled only after GCC has given arrays their place.)
template <class Op, class T, class... More>
MOEKIT_INLINE auto by_register(const Op& op, const Lanes16<T>& a, const Lanes16<More>&... more) {
  using Lane = decltype(op(a.at[0], more.at[0]...)[0]);
  using To = Lanes16<std::remove_cv_t<std::remove_reference_t<Lane> > >;
  if constexpr (kRegisters == 2)
    return To{{op(a.at[0], more.at[0]...), op(a.at[1], more.at[1]...)}};
  else
    return To{{op(a.at[0], more.at[0]...), op(a.at[1], more.at[1]...), op(a.at[2], more.at[2]...),
               op(a.at[3], more.at[3]...)}};
}

// What vector extension types have, with a scalar on either side too.
template <class T>
struct ScalarOf {
  using Type = T;  // nothing is deduced from it: literals convert
};
#define MOEKIT_LANES_OPERATOR(op)                                                           \
  template <class T>                                                                        \
  MOEKIT_INLINE Lanes16<T> operator op(const Lanes16<T>& a, const Lanes16<T>& b) {          \
    return by_register([](auto x, auto y) MOEKIT_INLINED { return x op y; }, a, b);         \
  }                                                                                         \
  template <class T>                                                                        \
  MOEKIT_INLINE Lanes16<T> operator op(const Lanes16<T>& a, typename ScalarOf<T>::Type b) { \
    return by_register([b](auto x) MOEKIT_INLINED { return x op b; }, a);                   \
  }                                                                                         \
  template <class T>                                                                        \
  MOEKIT_INLINE Lanes16<T> operator op(typename ScalarOf<T>::Type a, const Lanes16<T>& b) { \
    return by_register([a](auto y) MOEKIT_INLINED { return a op y; }, b);                   \
  }
MOEKIT_LANES_OPERATOR(+)
MOEKIT_LANES_OPERATOR(-)
MOEKIT_LANES_OPERATOR(*)
MOEKIT_LANES_OPERATOR(/)
MOEKIT_LANES_OPERATOR(&)
MOEKIT_LANES_OPERATOR(|)
MOEKIT_LANES_OPERATOR(^)
MOEKIT_LANES_OPERATOR(<<)
MOEKIT_LANES_OPERATOR(>>)
#undef MOEKIT_LANES_OPERATOR
template <class T>
MOEKIT_INLINE Lanes16<T> operator-(const Lanes16<T>& a) {
  return by_register([](auto x) MOEKIT_INLINED { return -x; }, a);
}
template <class T>
MOEKIT_INLINE Lanes16<T>& operator+=(Lanes16<T>& a, const Lanes16<T>& b) {
  return a = a + b;
}

template <class T>
MOEKIT_INLINE Lanes16<T> multiply_add(const Lanes16<T>& a, const Lanes16<T>& b, const Lanes16<T>& c) {
  return by_register([](auto x, auto y, auto z) MOEKIT_INLINED { return multiply_add(x, y, z); }, a, b, c);
}

#endif

/// a < b ? yes : no
template <class V, class W>
MOEKIT_INLINE W where_less(V a, V b, W yes, W no) {
  return by_register([](auto x, auto y, auto first, auto second) MOEKIT_INLINED { return x < y ? first : second; }, a,
                     b, yes, no);
}
/// a == b ? yes : no
template <class V, class W>
MOEKIT_INLINE W where_equal(V a, V b, W yes, W no) {
  return by_register([](auto x, auto y, auto first, auto second) MOEKIT_INLINED { return x == y ? first : second; }, a,
                     b, yes, no);
}
/// Numbers rounded towards zero, and back.
MOEKIT_INLINE I16 to_int(F16 v) {
  return by_register([](auto x) MOEKIT_INLINED { return __builtin_convertvector(x, IntRegister); }, v);
}
MOEKIT_INLINE F16 to_float(I16 v) {
  return by_register([](auto x) MOEKIT_INLINED { return __builtin_convertvector(x, FloatRegister); }, v);
}

}  // namespace
}  // namespace moekit::cpu
