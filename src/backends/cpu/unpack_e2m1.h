// SPDX-License-Identifier: Apache-2.0
// e2m1 codes with scales that are powers of two are bfloat16 numbers as they stand: a table and an addition to the
// exponents, two weights a lane, where all else is multiplied in float32 and rounded. For AVX-512.
#pragma once

#include "backends/cpu/scales.h"

namespace moekit::cpu {
namespace {

#ifdef __AVX512BW__
/// What a group's scales add to the exponents in both halves of a lane.
struct ExponentLanes {
  __m512i add;
  bool exact;  // whether every sum is the exponent of a normal number

  MOEKIT_INLINE explicit ExponentLanes(F16 scale) {
    const U16 exponent = (U16)scale >> 23;  // scales are positive
    // The codes' own exponents are 126 (of 0.5) to 129, those of normal numbers 1 to 254.
    const U16 outside = (U16)(exponent - 2u > 250u) | ((U16)scale & 0x7fffffu);
    exact = _mm512_test_epi32_mask((__m512i)outside, (__m512i)outside) == 0;
    const U16 low = ((exponent - 127u) << 7) & 0xffffu;
    add = (__m512i)(low | low << 16);
  }
};

/// 32 k of 16 columns to 16 lines of pairs; a scale for each 16 k.
MOEKIT_INLINE void unpack_e2m1_step(const std::byte* codes, const ExponentLanes (&scales)[2], std::uint16_t* tile) {
  // 0, 0.5, 1, 1.5, 2, 3, 4, 6 and their negatives, twice: indices have five bits, the fifth one is of the next code.
  using Table = std::uint16_t __attribute__((vector_size(64)));
  constexpr Table kTable = {0x0000, 0x3f00, 0x3f80, 0x3fc0, 0x4000, 0x4040, 0x4080, 0x40c0, 0x8000, 0xbf00, 0xbf80,
                            0xbfc0, 0xc000, 0xc040, 0xc080, 0xc0c0, 0x0000, 0x3f00, 0x3f80, 0x3fc0, 0x4000, 0x4040,
                            0x4080, 0x40c0, 0x8000, 0xbf00, 0xbf80, 0xbfc0, 0xc000, 0xc040, 0xc080, 0xc0c0};
  constexpr __mmask32 kAll = 0xffffffff, kOdd = 0xaaaaaaaa;
  const __m512i magnitude = _mm512_set1_epi16(0x7fff);
  for (int j = 0; j < 4; ++j) {
    const U16 word = load<U16>(codes + j * kLineBytes);
#pragma GCC unroll 4
    for (int pair = 0; pair < 4; ++pair) {
      const int up = 12 - 8 * pair;  // the odd code from bit 8 pair + 4 to the upper half
      const U16 even = word >> (8 * pair), odd = up > 0 ? word << up : word >> -up;
      const __m512i index = _mm512_mask_blend_epi16(kOdd, (__m512i)even, (__m512i)odd);
      const __m512i value = _mm512_maskz_permutexvar_epi16(kAll, index, (__m512i)kTable);
      const __mmask32 not_zero = _mm512_test_epi16_mask(value, magnitude);
      store(tile + (4 * j + pair) * 32, _mm512_mask_add_epi16(value, not_zero, value, scales[j / 2].add));
    }
  }
}
#endif

}  // namespace
}  // namespace moekit::cpu
