// SPDX-License-Identifier: Apache-2.0
// Sixteen lanes chosen by a comparison. GCC takes comparisons and ?: of vectors that are wider than a register apart
// into single lanes, which cost AVX2 more than all else of a row; here they go register by register. Only for
// kernels_*.cpp: everything is in an anonymous namespace, as in vec.h.
#pragma once

#include <cstdint>
#include <cstring>
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

template <class Lane>
struct Registers;
template <>
struct Registers<float> {
  using One = float __attribute__((vector_size(MOEKIT_REGISTER)));
  One at[64 / MOEKIT_REGISTER];
};
template <>
struct Registers<std::int32_t> {
  using One = std::int32_t __attribute__((vector_size(MOEKIT_REGISTER)));
  One at[64 / MOEKIT_REGISTER];
};
template <>
struct Registers<std::uint32_t> {
  using One = std::uint32_t __attribute__((vector_size(MOEKIT_REGISTER)));
  One at[64 / MOEKIT_REGISTER];
};
#undef MOEKIT_REGISTER

/// The registers of a vector of sixteen lanes.
template <class V>
MOEKIT_INLINE auto registers(V v) {
  Registers<std::remove_reference_t<decltype(v[0])>> parts;
  static_assert(sizeof parts == sizeof v, "sixteen lanes");
  std::memcpy(&parts, &v, sizeof v);
  return parts;
}

template <class V, class W, class Compare>
MOEKIT_INLINE W where(V a, V b, W yes, W no, const Compare& compare) {
  const auto x = registers(a), y = registers(b);
  auto chosen = registers(yes);
  const auto other = registers(no);
#pragma GCC unroll 4
  for (std::size_t i = 0; i < sizeof chosen.at / sizeof chosen.at[0]; ++i)
    chosen.at[i] = compare(x.at[i], y.at[i]) ? chosen.at[i] : other.at[i];
  std::memcpy(&no, &chosen, sizeof no);
  return no;
}
/// a < b ? yes : no
template <class V, class W>
MOEKIT_INLINE W where_less(V a, V b, W yes, W no) {
  return where(a, b, yes, no, [](auto x, auto y) { return x < y; });
}
/// a == b ? yes : no
template <class V, class W>
MOEKIT_INLINE W where_equal(V a, V b, W yes, W no) {
  return where(a, b, yes, no, [](auto x, auto y) { return x == y; });
}

}  // namespace
}  // namespace moekit::cpu
