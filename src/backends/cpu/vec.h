// SPDX-License-Identifier: Apache-2.0
// Sixteen float lanes by the compiler's vector extensions, lowered to whatever the ISA of the including file has.
// Only for kernels_*.cpp: everything is in an anonymous namespace, so that no copy made for one ISA serves another.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>

#include "backends/cpu/fma.h"
#include "backends/cpu/where.h"

#if defined(__AVX2__)
#include <immintrin.h>
#endif

namespace moekit::cpu {
namespace {

using F16 = float __attribute__((vector_size(64)));
using I16 = std::int32_t __attribute__((vector_size(64)));
using U16 = std::uint32_t __attribute__((vector_size(64)));
using H16 = std::uint16_t __attribute__((vector_size(32)));
using B16 = std::uint8_t __attribute__((vector_size(16)));
using S16 = std::int8_t __attribute__((vector_size(16)));

// Lanes of a vector in another order, which is constant. (GCC 11 lacks the second form, clang the first.)
#ifdef __clang__
#define MOEKIT_SHUFFLE(v, ...) __builtin_shufflevector(v, v, __VA_ARGS__)
#else
#define MOEKIT_SHUFFLE(v, ...) __builtin_shuffle(v, decltype(v){__VA_ARGS__})
#endif

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
/// Unsigned numbers to 32 bits. Intrinsics where there are: GCC 12 widens bytes one by one. (The forms with a mask of
/// ones: the plain ones begin with an undefined register, of which it warns.)
#if defined(__AVX512F__)
MOEKIT_INLINE U16 widen(B16 v) { return (U16)_mm512_maskz_cvtepu8_epi32(0xffff, (__m128i)v); }
MOEKIT_INLINE U16 widen(H16 v) { return (U16)_mm512_maskz_cvtepu16_epi32(0xffff, (__m256i)v); }
#elif defined(__AVX2__)
MOEKIT_INLINE U16 widen(B16 v) {
  const __m128i low = (__m128i)v;
  const __m256i halves[2] = {_mm256_cvtepu8_epi32(low), _mm256_cvtepu8_epi32(_mm_srli_si128(low, 8))};
  return load<U16>(halves);
}
MOEKIT_INLINE U16 widen(H16 v) { return __builtin_convertvector(v, U16); }
#else
template <class V>
MOEKIT_INLINE U16 widen(V v) {
  return __builtin_convertvector(v, U16);
}
#endif
/// Numbers of -128 .. 127 to bytes.
MOEKIT_INLINE B16 narrow(I16 v) {
#if defined(__AVX512F__)
  return (B16)_mm512_maskz_cvtepi32_epi8(0xffff, (__m512i)v);
#elif defined(__AVX2__)
  __m256i halves[2];
  store(halves, v);
  const __m256i words = _mm256_permute4x64_epi64(_mm256_packs_epi32(halves[0], halves[1]), 0xd8);
  return (B16)_mm_packs_epi16(_mm256_castsi256_si128(words), _mm256_extracti128_si256(words, 1));
#else
  return (B16) __builtin_convertvector(v, S16);
#endif
}
MOEKIT_INLINE std::int32_t sum16(I16 v) {
  v += MOEKIT_SHUFFLE(v, 8, 9, 10, 11, 12, 13, 14, 15, 0, 1, 2, 3, 4, 5, 6, 7);
  v += MOEKIT_SHUFFLE(v, 4, 5, 6, 7, 0, 1, 2, 3, 12, 13, 14, 15, 8, 9, 10, 11);
  v += MOEKIT_SHUFFLE(v, 2, 3, 0, 1, 6, 7, 4, 5, 10, 11, 8, 9, 14, 15, 12, 13);
  return v[0] + v[1];
}
/// Whether sixteen floats are looked up by one instruction; its index is the low four bits of each lane.
#ifdef __AVX512F__
constexpr bool kLookup16 = true;
#else
constexpr bool kLookup16 = false;
#endif
MOEKIT_INLINE F16 lookup16(F16 table, U16 index) {
#ifndef __clang__
  return __builtin_shuffle(table, (I16)index);
#elif defined(__AVX512F__)
  return (F16)_mm512_permutexvar_ps((__m512i)index, (__m512)table);
#else
  F16 found = {};
  for (int i = 0; i < 16; ++i) found[i] = table[index[i] & 15u];
  return found;
#endif
}
MOEKIT_INLINE F16 splat(float x) { return x - F16{}; }                                                // of -0 too
MOEKIT_INLINE F16 min16(F16 x, float limit) { return where_less(splat(limit), x, splat(limit), x); }  // NaN stays NaN
MOEKIT_INLINE F16 max16(F16 x, float limit) { return where_less(x, splat(limit), splat(limit), x); }
/// Every NaN as the same one: which one an operation makes is the processor's choice.
MOEKIT_INLINE F16 one_nan(F16 x) { return where_equal(x, x, x, splat(__builtin_nanf(""))); }

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
  return where_equal(x, x, bits + 0x7fffu + ((bits >> 16) & 1u), bits | 0x400000u);
}
/// Words of two bfloat16 each, those of `even` in the low halves.
MOEKIT_INLINE U16 bf16_words(F16 even, F16 odd) {
#ifdef __AVX512BF16__
  // Seven instructions for each half less. Subnormal numbers become zeros, as they do in products of this instruction
  // set.
  using Halves = std::int16_t __attribute__((vector_size(64)));
  constexpr Halves kOrder = {0, 16, 1, 17, 2,  18, 3,  19, 4,  20, 5,  21, 6,  22, 7,  23,
                             8, 24, 9, 25, 10, 26, 11, 27, 12, 28, 13, 29, 14, 30, 15, 31};
  return (U16)_mm512_maskz_permutexvar_epi16(0xffffffffu, (__m512i)kOrder,
                                             (__m512i)_mm512_cvtne2ps_pbh((__m512)odd, (__m512)even));
#else
  return bf16_bits(even) >> 16 | (bf16_bits(odd) & 0xffff0000u);
#endif
}
MOEKIT_INLINE H16 to_bf16(F16 x) { return __builtin_convertvector(bf16_bits(x) >> 16, H16); }
MOEKIT_INLINE F16 from_bf16(H16 h) { return (F16)(widen(h) << 16); }

/// e^x, relative error below 3e-7 for |x| < 80. 2^(x log2 e) split at the nearest integer; 2^f by its Taylor series to
/// degree 6, whose next term is (ln2 / 2)^7 / 7! = 1.2e-7 at the ends. Overflows to infinity from 88.4 on, stays at
/// 1.2e-38 below -87.3 (a normal number: no subnormals enter the kernels this way).
MOEKIT_INLINE F16 exp16(F16 x) {
  const float log2e = 1.44269504088896341f, magic = 12582912.0f;  // 1.5 * 2^23: adding it rounds to an integer
  const F16 t = max16(min16(x, 89.0f), -87.3f);
  const F16 n = multiply_add(t, log2e, splat(magic)) - magic;
  const F16 f = multiply_add(t, log2e, -n);
  F16 p = splat(1.54035304e-4f);
  p = multiply_add(p, f, splat(1.33335581e-3f));
  p = multiply_add(p, f, splat(9.61812911e-3f));
  p = multiply_add(p, f, splat(5.55041087e-2f));
  p = multiply_add(p, f, splat(2.40226507e-1f));
  p = multiply_add(p, f, splat(6.93147181e-1f));
  p = multiply_add(p, f, splat(1.0f));
  const I16 exponent = __builtin_convertvector(n, I16);
  return p * (F16)((exponent + 127) << 23);
}

}  // namespace
}  // namespace moekit::cpu
