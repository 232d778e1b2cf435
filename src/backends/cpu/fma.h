// SPDX-License-Identifier: Apache-2.0
// a b + c on vectors, rounded once where the ISA of the including file has a fused multiply-add. Kernels are compiled
// without contraction: what is fused is written so, and all else is rounded twice, whatever the compiler. Only for
// kernels_*.cpp and limits_*.cpp; everything is in an anonymous namespace, as in vec.h.
#pragma once

#include <cstdint>
#include <cstring>

#if defined(__FMA__)
#include <immintrin.h>
#elif defined(__aarch64__)
#include <arm_neon.h>
#endif

namespace moekit::cpu {
namespace {

#define MOEKIT_INLINE inline __attribute__((always_inline))

using F4 = float __attribute__((vector_size(16)));

// Native: what one instruction (or one call) multiplies.
#if defined(MOEKIT_SOFT_FMA)
constexpr bool kFusedMultiplyAdd = true;
using Native = F4;
/// The product of two floats is exact in double (48 of 53 bits). Its sum with c is rounded to odd there: of an inexact
/// sum that rounded to an even number, the neighbour on the side of the error is taken. That then rounds to float as
/// the exact sum does, subnormal results too, because 53 >= 2 * 24 + 2 (S. Boldo and G. Melquiond, "Emulation of a FMA
/// and correctly rounded sums: proved algorithms using rounding to odd", IEEE Trans. Comput. 57, 2008). The error is
/// D. Knuth's TwoSum; of infinities it is NaN and changes nothing. A function, so that kernels stay small.
__attribute__((noinline)) inline Native native_multiply_add(Native a, Native b, Native c) {
  using D4 = double __attribute__((vector_size(32)));
  using I4 = std::int64_t __attribute__((vector_size(32)));
  const D4 product = __builtin_convertvector(a, D4) * __builtin_convertvector(b, D4);
  const D4 addend = __builtin_convertvector(c, D4), sum = product + addend;
  const D4 part = sum - product, error = (product - (sum - part)) + (addend - part);
  const I4 above = error > 0.0, inexact = above | (I4)(error < 0.0), positive = sum > 0.0;
  const I4 even = ((I4)sum & 1) - 1;       // all ones where it is
  const I4 away = (above ^ positive) | 1;  // 1 where the neighbour is further from zero, else -1
  const I4 odd = (I4)sum + (away & inexact & even);
  return __builtin_convertvector((D4)odd, F4);
}
#elif defined(__AVX512F__)
constexpr bool kFusedMultiplyAdd = true;
using Native = __m512;
MOEKIT_INLINE Native native_multiply_add(Native a, Native b, Native c) { return _mm512_fmadd_ps(a, b, c); }
#elif defined(__FMA__)
constexpr bool kFusedMultiplyAdd = true;
using Native = __m256;
MOEKIT_INLINE Native native_multiply_add(Native a, Native b, Native c) { return _mm256_fmadd_ps(a, b, c); }
#elif defined(__aarch64__)
constexpr bool kFusedMultiplyAdd = true;
using Native = F4;
MOEKIT_INLINE Native native_multiply_add(Native a, Native b, Native c) {
  return (Native)vfmaq_f32((float32x4_t)c, (float32x4_t)a, (float32x4_t)b);
}
#elif defined(__FP_FAST_FMAF)
constexpr bool kFusedMultiplyAdd = true;
using Native = F4;
MOEKIT_INLINE Native native_multiply_add(Native a, Native b, Native c) {
  for (int i = 0; i < 4; ++i) c[i] = __builtin_fmaf(a[i], b[i], c[i]);
  return c;
}
#else
constexpr bool kFusedMultiplyAdd = false;
using Native = F4;
MOEKIT_INLINE Native native_multiply_add(Native a, Native b, Native c) { return a * b + c; }
#endif

template <class V>
struct NativeParts {
  static constexpr int kCount = sizeof(V) / sizeof(Native);
  Native at[kCount];
};

/// a b + c. V: floats, a whole number of Natives.
template <class V>
MOEKIT_INLINE V multiply_add(V a, V b, V c) {
  if constexpr (!kFusedMultiplyAdd) {
    return a * b + c;
  } else if constexpr (sizeof(V) == sizeof(Native)) {
    return (V)native_multiply_add((Native)a, (Native)b, (Native)c);
  } else {
    NativeParts<V> x, y, z;
    std::memcpy(&x, &a, sizeof a);
    std::memcpy(&y, &b, sizeof b);
    std::memcpy(&z, &c, sizeof c);
#pragma GCC unroll 4
    for (int i = 0; i < NativeParts<V>::kCount; ++i) z.at[i] = native_multiply_add(x.at[i], y.at[i], z.at[i]);
    std::memcpy(&c, &z, sizeof c);
    return c;
  }
}
/// The same with one b for all lanes. (b - 0 is b, of -0 too.)
template <class V>
MOEKIT_INLINE V multiply_add(V a, float b, V c) {
  return multiply_add(a, b - V{}, c);
}

}  // namespace
}  // namespace moekit::cpu
