// SPDX-License-Identifier: Apache-2.0
// Sixteen float lanes by the compiler's vector extensions, lowered to whatever the ISA of the including file has.
// Only for kernels_*.cpp: everything is in an anonymous namespace, so that no copy made for one ISA serves another.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>

namespace moekit::cpu {
namespace {

#define MOEKIT_INLINE inline __attribute__((always_inline))

using F16 = float __attribute__((vector_size(64)));
using I16 = std::int32_t __attribute__((vector_size(64)));
using U16 = std::uint32_t __attribute__((vector_size(64)));
using H16 = std::uint16_t __attribute__((vector_size(32)));

template <class V, class T>
MOEKIT_INLINE V load(const T* p) {
  V v;
  std::memcpy(&v, p, sizeof v);
  return v;
}
template <class V, class T>
MOEKIT_INLINE void store(T* p, V v) {
  std::memcpy(p, &v, sizeof v);
}
/// Whether sixteen floats are looked up by one instruction; its index is the low four bits of each lane.
#ifdef __AVX512F__
constexpr bool kLookup16 = true;
#else
constexpr bool kLookup16 = false;
#endif
MOEKIT_INLINE F16 lookup16(F16 table, U16 index) { return __builtin_shuffle(table, (I16)index); }
MOEKIT_INLINE F16 splat(float x) { return F16{} + x; }
MOEKIT_INLINE F16 min16(F16 x, float limit) { return x > limit ? splat(limit) : x; }  // NaN stays NaN
MOEKIT_INLINE F16 max16(F16 x, float limit) { return x < limit ? splat(limit) : x; }

/// Lines to bring into the second-level cache in the course of a multiplication.
struct Upcoming {
  const std::byte* at = nullptr;
  std::int64_t lines = 0;
  /// The part of one of `calls` calls of `steps` steps, as lines a step.
  MOEKIT_INLINE std::int64_t each(std::int64_t calls, std::int64_t steps) const {
    return (lines + calls * steps - 1) / (calls * steps);
  }
  MOEKIT_INLINE void step(std::int64_t count) {
    for (std::int64_t i = 0; i < count; ++i, at += 64) __builtin_prefetch(at, 0, 2);
  }
};

/// Round to nearest even, NaN kept and made quiet: the bits of the bfloat16 are the high halves, the low ones are left.
MOEKIT_INLINE U16 bf16_bits(F16 x) {
  const U16 bits = (U16)x;
  return x == x ? bits + 0x7fffu + ((bits >> 16) & 1u) : bits | 0x400000u;
}
MOEKIT_INLINE H16 to_bf16(F16 x) { return __builtin_convertvector(bf16_bits(x) >> 16, H16); }
MOEKIT_INLINE F16 from_bf16(H16 h) { return (F16)(__builtin_convertvector(h, U16) << 16); }

/// e^x, relative error below 3e-7 for |x| < 80. 2^(x log2 e) split at the nearest integer; 2^f by its Taylor series to
/// degree 6, whose next term is (ln2 / 2)^7 / 7! = 1.2e-7 at the ends. Overflows to infinity from 88.4 on, stays at
/// 1.2e-38 below -87.3 (a normal number: no subnormals enter the kernels this way).
MOEKIT_INLINE F16 exp16(F16 x) {
  const float log2e = 1.44269504088896341f, magic = 12582912.0f;  // 1.5 * 2^23: adding it rounds to an integer
  const F16 t = max16(min16(x, 89.0f), -87.3f);
  const F16 n = (t * log2e + magic) - magic;
  const F16 f = t * log2e - n;
  F16 p = splat(1.54035304e-4f);
  p = p * f + 1.33335581e-3f;
  p = p * f + 9.61812911e-3f;
  p = p * f + 5.55041087e-2f;
  p = p * f + 2.40226507e-1f;
  p = p * f + 6.93147181e-1f;
  p = p * f + 1.0f;
  const I16 exponent = __builtin_convertvector(n, I16);
  return p * (F16)((exponent + 127) << 23);
}

}  // namespace
}  // namespace moekit::cpu
