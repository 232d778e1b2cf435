// SPDX-License-Identifier: Apache-2.0
// Codes of tile_format.h as pairs of bfloat16, which hold every code of these formats exactly: what a dot product of
// bfloat16 multiplies before the scale is known. Tables in registers where there is AVX512-VBMI; elsewhere (emulation)
// the same numbers lane by lane.
#pragma once

#include <immintrin.h>

#include "backends/cpu/unpack_tiles.h"

namespace moekit::cpu {
namespace {

/// n * 2^exponent, |n| below 256.
constexpr std::uint16_t bf16_number(int n, int exponent) {
  if (n == 0) return 0;
  int magnitude = n < 0 ? -n : n;
  for (; magnitude < 128; magnitude *= 2) --exponent;
  return static_cast<std::uint16_t>((n < 0 ? 0x8000 : 0) | (127 + 7 + exponent) << 7 | (magnitude & 127));
}

/// The number of index `code` of 32: a 4-bit code, and whatever bit lies above it; for kUInt4 the code less its zero
/// point, -16 .. 15. Of 8 bits: that of a magnitude.
template <Read kRead>
constexpr std::uint16_t code_number(int code) {
  if (kRead == Read::kInt4) return bf16_number((code & 15) - 8, 0);
  if (kRead == Read::kUInt4) return bf16_number(code < 16 ? code : code - 32, 0);
  if (kRead == Read::kE2M1) {
    const int exponent = code >> 1 & 3, mantissa = code & 1;
    const std::uint16_t bits = exponent == 0 ? bf16_number(mantissa, -1) : bf16_number(2 + mantissa, exponent - 2);
    return static_cast<std::uint16_t>(bits | (code & 8) << 12);
  }
  if (kRead == Read::kE4M3) {
    if (code == 127) return 0x7fc0;
    return code < 8 ? bf16_number(code, -9) : bf16_number(8 + (code & 7), (code >> 3) - 10);
  }
  return bf16_number(code, 0);
}

/// Numbers of codes; of 8 bits their low and their high bytes.
template <Read kRead>
struct CodeTables {
  static constexpr bool kNibbles = kRead != Read::kInt8 && kRead != Read::kE4M3;
  std::uint16_t words[32] = {};
  std::uint8_t bytes[2][128] = {};
  // Of 8 bits: of 16 bytes, four lanes, first the codes of k 0 and 1, then those of k 2 and 3. Interleaving their low
  // and high bytes then gives pairs. VPERMI2B could do both at once, but twice that a line keeps busy a unit that
  // multiplies (Zen 4, e4m3: with the products of four rows 11.6 cycles a line instead of 10.2).
  std::uint8_t order[64] = {};
  constexpr CodeTables() {
    for (int i = 0; !kNibbles && i < 64; ++i)
      order[i] = static_cast<std::uint8_t>(i % 8 / 2 * 4 + i % 16 / 8 * 2 + i % 2);
    for (int i = 0; kNibbles && i < 32; ++i) words[i] = code_number<kRead>(i);
    for (int i = 0; !kNibbles && i < 128; ++i) {
      bytes[0][i] = static_cast<std::uint8_t>(code_number<kRead>(i) & 255);
      bytes[1][i] = static_cast<std::uint8_t>(code_number<kRead>(i) >> 8);
    }
  }
};
template <Read kRead>
constexpr CodeTables<kRead> kCodeTables = {};

/// Zero points, integers from 0 to 16, where a group begins: to both words of a lane.
template <Read kRead>
MOEKIT_INLINE void packed_zero(GroupLanes& group) {
  if constexpr (kRead == Read::kUInt4) {
    const auto zero = (U16)to_int(group.offset);
    group.offset = (F16)(zero | zero << 16);
  }
}

/// Pairs of k of a line of codes. 8 bits: (2 p, 2 p + 1). 4 bits: (p, p + 4), nibbles at the same place of both words
/// of a lane, so that one shift is all it takes, and A in nibble order. VPMULTISHIFTQB, which takes any two nibbles,
/// keeps busy the units that multiply on Zen 4: with a table and one product 2.0 cycles instead of 1.7, with two 3.0
/// instead of 2.1.
template <Read kRead>
struct CodePairs {
  static constexpr bool kNibbles = CodeTables<kRead>::kNibbles;
  static constexpr int kPairs = kNibbles ? 4 : 2;   // of a line
  static constexpr int kLines = kNibbles ? 2 : 4;   // of 16 k
  static constexpr int kAtOnce = kNibbles ? 1 : 2;  // pairs that come of the same instructions
  static constexpr const CodeTables<kRead>& kTables = kCodeTables<kRead>;

#ifdef __AVX512VBMI__
  __m512i table[4], order;
  CodePairs() {
    order = load<__m512i>(kTables.order);
    for (int i = 0; i < 4; ++i)
      table[i] = kNibbles ? load<__m512i>(kTables.words) : load<__m512i>(kTables.bytes[i / 2] + i % 2 * 64);
  }
  /// Pairs [first, first + kAtOnce) of a line of codes. `zero`: as packed_zero made it.
  MOEKIT_INLINE void operator()(const std::byte* line, [[maybe_unused]] int first, [[maybe_unused]] F16 zero,
                                __m512bh (&out)[kAtOnce]) const {
    // Forms with a mask of ones: the plain ones begin with an undefined register, of which GCC 12 warns.
    [[maybe_unused]] constexpr __mmask64 kAll = ~__mmask64{0};
    __m512i codes = load<__m512i>(line);
    if constexpr (kNibbles) {
      __m512i index = _mm512_srli_epi16(codes, static_cast<unsigned>(4 * first));
      if constexpr (kRead == Read::kUInt4)
        index = _mm512_sub_epi16(_mm512_and_si512(index, _mm512_set1_epi16(15)), (__m512i)zero);
      out[0] = (__m512bh)_mm512_maskz_permutexvar_epi16(0xffffffffu, index, table[0]);
    } else {
      codes = _mm512_maskz_shuffle_epi8(kAll, codes, order);
      const __m512i index = kRead == Read::kInt8 ? _mm512_maskz_abs_epi8(kAll, codes) : codes;  // its low seven bits
      const __m512i low = _mm512_permutex2var_epi8(table[0], index, table[1]);
      __m512i high = _mm512_permutex2var_epi8(table[2], index, table[3]);
      // -128, which alone has a magnitude with the eighth bit: 0x4300 is 128.
      if constexpr (kRead == Read::kInt8)
        high = _mm512_mask_mov_epi8(high, _mm512_movepi8_mask(index), _mm512_set1_epi8(0x43));
      high = _mm512_or_si512(high, _mm512_and_si512(codes, _mm512_set1_epi8(static_cast<char>(0x80))));
      out[0] = (__m512bh)_mm512_maskz_unpacklo_epi8(kAll, low, high);
      out[1] = (__m512bh)_mm512_maskz_unpackhi_epi8(kAll, low, high);
    }
  }
#else
  MOEKIT_INLINE void operator()(const std::byte* line, int first, F16 zero, __m512bh (&out)[kAtOnce]) const {
    std::uint32_t zeros[16];
    store(zeros, zero);
    std::uint16_t words[kAtOnce][32];
    for (int lane = 0; lane < 16; ++lane)
      for (int k = 2 * first; k < 2 * (first + kAtOnce); ++k) {
        std::uint16_t& word = words[k / 2 - first][2 * lane + k % 2];
        if constexpr (kNibbles) {
          int code = static_cast<int>(line[lane * 4 + k % 2 * 2 + first / 2]) >> (first % 2 * 4) & 15;
          if (kRead == Read::kUInt4) code -= static_cast<int>(zeros[lane] & 31u);
          word = kTables.words[code & 31];
        } else {
          const int code = static_cast<int>(line[lane * 4 + k]);
          const int index = kRead == Read::kInt8 && code > 128 ? 256 - code : code;
          word = static_cast<std::uint16_t>(kTables.bytes[0][index & 127] | kTables.bytes[1][index & 127] << 8 |
                                            (code & 128) << 8);
          if (kRead == Read::kInt8 && code == 128) word = 0xc300;
        }
      }
    for (int pair = 0; pair < kAtOnce; ++pair) out[pair] = load<__m512bh>(words[pair]);
  }
#endif
};

/// Calls with(read), an integral constant, for a format whose codes are such numbers.
template <class With>
MOEKIT_INLINE void dispatch_codes(const WeightFormat& weight, const With& with) {
  switch (weight.code) {
    case Code::kInt8: return with(std::integral_constant<Read, Read::kInt8>());
    case Code::kE4M3: return with(std::integral_constant<Read, Read::kE4M3>());
    case Code::kE2M1: return with(std::integral_constant<Read, Read::kE2M1>());
    default: break;
  }
  if (weight.offset == Offset::kNone) return with(std::integral_constant<Read, Read::kInt4>());
  with(std::integral_constant<Read, Read::kUInt4>());
}

/// Whether both streams' codes are multiplied so: numbers as they stand, or less a zero point.
inline bool has_code_pairs(const TileFormat& a, const TileFormat& b) noexcept {
  const auto numbers = [](const WeightFormat& weight) {
    const bool plain = weight.offset == Offset::kNone;
    switch (weight.code) {
      case Code::kInt8: return plain && weight.zero == 0;
      case Code::kUInt4: return plain ? weight.zero == 8 : weight.offset == Offset::kZeroPoint;
      case Code::kE4M3:
      case Code::kE2M1: return plain;
      default: return false;
    }
  };
  return numbers(a.weight) && numbers(b.weight) && a.weight.code == b.weight.code &&
         a.weight.offset == b.weight.offset && a.weight.group == b.weight.group && !a.by_column && !b.by_column;
}

}  // namespace
}  // namespace moekit::cpu
