// SPDX-License-Identifier: Apache-2.0
// Products of bytes for int_panel.h on x86: VNNI where the including file has it, else multiply-adds of 16-bit pairs
// (those of bytes, vpmaddubsw, saturate).
#pragma once

#include <immintrin.h>

#include "backends/cpu/vec.h"

namespace moekit::cpu {
namespace {

/// Eight lanes at a time.
#ifndef __AVX512F__
struct Avx2Dot {
  static constexpr bool kSignedCodes = false;
  static constexpr int kRows = 2;  // 16 registers, a pair for each sum
#ifdef __AVXVNNI__
  static constexpr bool kSmallCodes = false;
#else
  static constexpr bool kSmallCodes = true;
#endif
  MOEKIT_INLINE static __m256i add8(__m256i sums, __m256i codes, __m256i word) {
#ifdef __AVXVNNI__
    return _mm256_dpbusd_avx_epi32(sums, codes, word);
#else
    const __m256i even = _mm256_madd_epi16(_mm256_and_si256(codes, _mm256_set1_epi16(0xff)),
                                           _mm256_srai_epi16(_mm256_slli_epi16(word, 8), 8));
    const __m256i odd = _mm256_madd_epi16(_mm256_srli_epi16(codes, 8), _mm256_srai_epi16(word, 8));
    return _mm256_add_epi32(sums, _mm256_add_epi32(even, odd));
#endif
  }
  MOEKIT_INLINE static I16 add(I16 sums, U16 codes, std::int32_t word) {
    const __m256i x = _mm256_set1_epi32(word);
    const auto dot = [x](auto s, auto w) MOEKIT_INLINED { return (IntRegister)add8((__m256i)s, (__m256i)w, x); };
    return by_register(dot, sums, codes);
  }
  /// vpmaddubsw: four sums of two products are at most 4 * 2 * 24 * 128 = 24576 in magnitude, which 16 bits hold.
  MOEKIT_INLINE static I16 add4(I16 sums, const U16 (&codes)[4], const std::byte* words) {
    I16 pairs = {};
#pragma GCC unroll 4
    for (int i = 0; i < 4; ++i) {
      const __m256i x = _mm256_set1_epi32(load<std::int32_t>(words + 4 * i));
      const auto add = [x](auto p, auto w) MOEKIT_INLINED {
        return (IntRegister)_mm256_add_epi16((__m256i)p, _mm256_maddubs_epi16((__m256i)w, x));
      };
      pairs = by_register(add, pairs, codes[i]);
    }
    const auto fold = [](auto s, auto p) MOEKIT_INLINED {
      return s + (IntRegister)_mm256_madd_epi16((__m256i)p, _mm256_set1_epi16(1));
    };
    return by_register(fold, sums, pairs);
  }
  MOEKIT_INLINE static U16 lookup(const std::uint8_t (&table)[16], U16 nibbles) {
    const __m256i entries = _mm256_broadcastsi128_si256(load<__m128i>(table));
    const auto find = [entries](auto n)
                          MOEKIT_INLINED { return (WordRegister)_mm256_shuffle_epi8(entries, (__m256i)n); };
    return by_register(find, nibbles);
  }
};

#elif defined(__AVX512BW__)
struct Avx512Dot {
  static constexpr bool kSignedCodes = false;
  static constexpr int kRows = 4;  // with three digits and two tiles 24 sums, of 32 registers
#ifdef __AVX512VNNI__
  static constexpr bool kSmallCodes = false;
#else
  static constexpr bool kSmallCodes = true;
#endif

  MOEKIT_INLINE static I16 add(I16 sums, U16 codes, std::int32_t word) {
    const __m512i x = _mm512_set1_epi32(word);
#ifdef __AVX512VNNI__
    return (I16)_mm512_dpbusd_epi32((__m512i)sums, (__m512i)codes, x);
#else
    const __m512i even = _mm512_madd_epi16(_mm512_and_si512((__m512i)codes, _mm512_set1_epi16(0xff)),
                                           _mm512_srai_epi16(_mm512_slli_epi16(x, 8), 8));
    const __m512i odd = _mm512_madd_epi16(_mm512_srli_epi16((__m512i)codes, 8), _mm512_srai_epi16(x, 8));
    return sums + (I16)_mm512_add_epi32(even, odd);
#endif
  }
  MOEKIT_INLINE static I16 add4(I16 sums, const U16 (&codes)[4], const std::byte* words) {
    const auto x = [&](int i) { return _mm512_set1_epi32(load<std::int32_t>(words + 4 * i)); };
    __m512i pairs = _mm512_maddubs_epi16((__m512i)codes[0], x(0));
#pragma GCC unroll 3
    for (int i = 1; i < 4; ++i) pairs = _mm512_add_epi16(pairs, _mm512_maddubs_epi16((__m512i)codes[i], x(i)));
    return sums + (I16)_mm512_madd_epi16(pairs, _mm512_set1_epi16(1));
  }
  MOEKIT_INLINE static U16 lookup(const std::uint8_t (&table)[16], U16 nibbles) {
    // With a mask of ones: the plain broadcast begins with an undefined register, of which GCC 12 warns.
    const __m512i entries = _mm512_maskz_broadcast_i32x4(0xffff, load<__m128i>(table));
    return (U16)_mm512_shuffle_epi8(entries, (__m512i)nibbles);
  }
};
#endif

}  // namespace
}  // namespace moekit::cpu
