// SPDX-License-Identifier: Apache-2.0
// Work on sixteen lanes (lanes.h): loads and stores, conversions, lookups, exponentials.
// Only for kernels_*.cpp: everything is in an anonymous namespace, so that no copy made for one ISA serves another.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <type_traits>

#include "backends/cpu/lanes.h"

#if defined(__AVX2__)
#include <immintrin.h>
#endif

namespace moekit::cpu {
namespace {

using B16 = std::uint8_t __attribute__((vector_size(16)));
#if MOEKIT_REGISTER == 16
/// As Lanes16.
struct H16 {
  using One = std::uint16_t __attribute__((vector_size(16)));
  One at[2];
};
#else
using H16 = std::uint16_t __attribute__((vector_size(32)));
#endif

// Lanes of two vectors in an order that is constant. (GCC 11 lacks the second form, clang the first.)
#ifdef __clang__
#define MOEKIT_SHUFFLE(a, b, ...) __builtin_shufflevector(a, b, __VA_ARGS__)
#else
#define MOEKIT_SHUFFLE(a, b, ...) __builtin_shuffle(a, b, std::decay_t<decltype(a)>{__VA_ARGS__})
#endif

/// Registers that a type is a struct of; of others 1.
template <class V, class = void>
constexpr std::size_t kRegistersOf = 1;
template <class V>
constexpr std::size_t kRegistersOf<V, std::void_t<typename V::One>> = sizeof(V) / sizeof(typename V::One);

// Register by register: copies of 64 bytes pass through memory.
template <class V, class T>
MOEKIT_INLINE V load(const T* p) {
  if constexpr (kRegistersOf<V> == 1) {
    V v;
    std::memcpy(&v, p, sizeof v);
    return v;
  } else {
    using One = typename V::One;
    const auto* bytes = reinterpret_cast<const std::byte*>(p);
    const auto part = [bytes](std::size_t i) MOEKIT_INLINED { return load<One>(bytes + i * sizeof(One)); };
    if constexpr (kRegistersOf<V> == 2) return V{{part(0), part(1)}};
    if constexpr (kRegistersOf<V> == 4) return V{{part(0), part(1), part(2), part(3)}};
  }
}
template <class V, class T>
MOEKIT_INLINE void store(T* p, V v) {
  if constexpr (kRegistersOf<V> == 1) {
    std::memcpy(p, &v, sizeof v);
  } else {
    auto* bytes = reinterpret_cast<std::byte*>(p);
    const auto part = [bytes, &v](std::size_t i) MOEKIT_INLINED { store(bytes + i * sizeof v.at[0], v.at[i]); };
    part(0);
    part(1);
    if constexpr (kRegistersOf<V> == 4) {
      part(2);
      part(3);
    }
  }
}
// Unsigned numbers to 32 bits, and words below 2^16 and numbers of -128 .. 127 to fewer. Intrinsics where there are:
// GCC 12 converts bytes one by one. (The forms with a mask of ones: the plain ones begin with an undefined register, of
// which it warns.)
#if defined(__AVX512F__)
MOEKIT_INLINE U16 widen(B16 v) { return (U16)_mm512_maskz_cvtepu8_epi32(0xffff, (__m128i)v); }
MOEKIT_INLINE U16 widen(H16 v) { return (U16)_mm512_maskz_cvtepu16_epi32(0xffff, (__m256i)v); }
MOEKIT_INLINE H16 narrow(U16 v) { return __builtin_convertvector(v, H16); }
MOEKIT_INLINE B16 narrow(I16 v) { return (B16)_mm512_maskz_cvtepi32_epi8(0xffff, (__m512i)v); }
#elif defined(__AVX2__)
MOEKIT_INLINE U16 widen(B16 v) {
  const auto low = (__m128i)v;
  return {{(WordRegister)_mm256_cvtepu8_epi32(low), (WordRegister)_mm256_cvtepu8_epi32(_mm_srli_si128(low, 8))}};
}
MOEKIT_INLINE U16 widen(H16 v) {
  const auto both = (__m256i)v;
  return {{(WordRegister)_mm256_cvtepu16_epi32(_mm256_castsi256_si128(both)),
           (WordRegister)_mm256_cvtepu16_epi32(_mm256_extracti128_si256(both, 1))}};
}
MOEKIT_INLINE H16 narrow(U16 v) {  // packing takes the lanes of 16 bytes in turn
  return (H16)_mm256_permute4x64_epi64(_mm256_packus_epi32((__m256i)v.at[0], (__m256i)v.at[1]), 0xd8);
}
MOEKIT_INLINE B16 narrow(I16 v) {
  const __m256i words = _mm256_permute4x64_epi64(_mm256_packs_epi32((__m256i)v.at[0], (__m256i)v.at[1]), 0xd8);
  return (B16)_mm_packs_epi16(_mm256_castsi256_si128(words), _mm256_extracti128_si256(words, 1));
}
#else
// Interleaved with zeros, and the even ones of two.
MOEKIT_INLINE U16 widen(H16 v) {
  const H16::One zero = {};
  return {{(WordRegister)MOEKIT_SHUFFLE(v.at[0], zero, 0, 8, 1, 9, 2, 10, 3, 11),
           (WordRegister)MOEKIT_SHUFFLE(v.at[0], zero, 4, 12, 5, 13, 6, 14, 7, 15),
           (WordRegister)MOEKIT_SHUFFLE(v.at[1], zero, 0, 8, 1, 9, 2, 10, 3, 11),
           (WordRegister)MOEKIT_SHUFFLE(v.at[1], zero, 4, 12, 5, 13, 6, 14, 7, 15)}};
}
MOEKIT_INLINE U16 widen(B16 v) {
  const B16 zero = {};
  return widen(H16{{(H16::One)MOEKIT_SHUFFLE(v, zero, 0, 16, 1, 17, 2, 18, 3, 19, 4, 20, 5, 21, 6, 22, 7, 23),
                    (H16::One)MOEKIT_SHUFFLE(v, zero, 8, 24, 9, 25, 10, 26, 11, 27, 12, 28, 13, 29, 14, 30, 15, 31)}});
}
MOEKIT_INLINE H16 narrow(U16 v) {
  const auto half = [&v](int i) MOEKIT_INLINED {
    const auto low = (H16::One)v.at[i], high = (H16::One)v.at[i + 1];
    return MOEKIT_SHUFFLE(low, high, 0, 2, 4, 6, 8, 10, 12, 14);
  };
  return {{half(0), half(2)}};
}
MOEKIT_INLINE B16 narrow(I16 v) {
  const H16 halves = narrow((U16)v);
  const auto low = (B16)halves.at[0], high = (B16)halves.at[1];
  return MOEKIT_SHUFFLE(low, high, 0, 2, 4, 6, 8, 10, 12, 14, 16, 18, 20, 22, 24, 26, 28, 30);
}
#endif
MOEKIT_INLINE std::int32_t sum16(I16 v) {
  using I4 = std::int32_t __attribute__((vector_size(16)));
  std::int32_t lane[16];
  store(lane, v);
  const I4 sums = load<I4>(lane) + load<I4>(lane + 4) + load<I4>(lane + 8) + load<I4>(lane + 12);
  return sums[0] + sums[1] + sums[2] + sums[3];
}
#ifdef __AVX512F__
/// The index is the low four bits of each lane.
MOEKIT_INLINE F16 lookup16(F16 table, U16 index) {
#ifdef __clang__
  return (F16)_mm512_permutexvar_ps((__m512i)index, (__m512)table);
#else
  return __builtin_shuffle(table, (I16)index);
#endif
}
#endif
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
MOEKIT_INLINE H16 to_bf16(F16 x) { return narrow(bf16_bits(x) >> 16); }
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
  return p * (F16)((to_int(n) + 127) << 23);
}

}  // namespace
}  // namespace moekit::cpu
