// SPDX-License-Identifier: Apache-2.0
// Tiles of bf16z to plain ones, in registers or in memory. Only vector code in an anonymous namespace, as in vec.h; in
// registers of the ISA's own width, of which a line of a tile takes kBf16zParts.
#pragma once

#if defined(__AVX2__)
#include <immintrin.h>
#endif

#include "backends/cpu/bf16z_format.h"
#include "backends/cpu/vec.h"

namespace moekit::cpu {
namespace {

#if defined(__AVX512BW__)
#define MOEKIT_BF16Z_BYTES 64
#elif defined(__AVX2__)
#define MOEKIT_BF16Z_BYTES 32
#else
#define MOEKIT_BF16Z_BYTES 16
#endif
using Bf16zBytes = std::uint8_t __attribute__((vector_size(MOEKIT_BF16Z_BYTES)));
using Bf16zShorts = std::uint16_t __attribute__((vector_size(MOEKIT_BF16Z_BYTES)));
using Bf16zPairs = std::uint32_t __attribute__((vector_size(MOEKIT_BF16Z_BYTES)));  // of k, a column a lane
using Bf16zFloats = float __attribute__((vector_size(MOEKIT_BF16Z_BYTES)));
#undef MOEKIT_BF16Z_BYTES
constexpr int kBf16zWidth = sizeof(Bf16zBytes);
constexpr int kBf16zParts = 64 / kBf16zWidth;
MOEKIT_INLINE Bf16zPairs bf16z_lane_numbers() {
  using Numbers = std::uint32_t __attribute__((vector_size(64)));
  constexpr Numbers kNumbers = {0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15};
  return load<Bf16zPairs>(&kNumbers);
}

MOEKIT_INLINE const std::byte* bf16z_heads(const Bf16zFormat& format, const std::byte* panel, int half) {
  return panel + half * format.half_bytes();
}
MOEKIT_INLINE Bf16zHead bf16z_head(const std::byte* heads, std::int64_t step) {
  return load<Bf16zHead>(heads + step * static_cast<std::int64_t>(sizeof(Bf16zHead)));
}
/// Exceptions [begin, end) of a step of a half. Files are not trusted: a count beyond the room, or before the last one.
struct Bf16zRange {
  std::int64_t begin, end;
};
MOEKIT_INLINE Bf16zRange bf16z_exceptions(const Bf16zFormat& format, const std::byte* heads, std::int64_t step) {
  const std::int64_t begin = step == 0 ? 0 : bf16z_head(heads, step - 1).end, end = bf16z_head(heads, step).end;
  return {begin, end < format.exceptions ? end : format.exceptions};
}

// What a tile's base says of codes: exponent bit 0 as bit 7 (beside the mantissa), exponent bits 1 .. 7 as bits 0 .. 6
// (beside the sign). Interleaving takes bytes of two vectors in turn, within lanes of 16 bytes.
#if defined(__AVX2__)
/// Both parts of exponent base - c at place c, 0 at place 15.
struct Bf16zExponents {
  __m128i low, high;
  MOEKIT_INLINE explicit Bf16zExponents(std::uint8_t base) {
    const __m128i codes = _mm_setr_epi8(0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15);
    const __m128i e = _mm_and_si128(_mm_sub_epi8(_mm_set1_epi8(static_cast<char>(base)), codes),
                                    _mm_cmpgt_epi8(_mm_set1_epi8(15), codes));
    low = _mm_and_si128(_mm_slli_epi16(e, 7), _mm_set1_epi8(static_cast<char>(0x80)));
    high = _mm_and_si128(_mm_srli_epi16(e, 1), _mm_set1_epi8(0x7f));
  }
};
#endif
#if defined(__AVX512BW__)
struct Bf16zTables {
  __m512i low_bits, high_bits;
  MOEKIT_INLINE explicit Bf16zTables(std::uint8_t base) {
    constexpr __mmask16 kAll = 0xffff;  // the form without a mask reads an undefined operand, for GCC's warnings
    const Bf16zExponents e(base);
    low_bits = _mm512_maskz_broadcast_i32x4(kAll, e.low);
    high_bits = _mm512_maskz_broadcast_i32x4(kAll, e.high);
  }
  MOEKIT_INLINE Bf16zBytes low(Bf16zBytes codes) const {
    return (Bf16zBytes)_mm512_shuffle_epi8(low_bits, (__m512i)codes);
  }
  MOEKIT_INLINE Bf16zBytes high(Bf16zBytes codes) const {
    return (Bf16zBytes)_mm512_shuffle_epi8(high_bits, (__m512i)codes);
  }
};
MOEKIT_INLINE Bf16zPairs interleave_low(Bf16zBytes a, Bf16zBytes b) {
  return (Bf16zPairs)_mm512_unpacklo_epi8((__m512i)a, (__m512i)b);
}
MOEKIT_INLINE Bf16zPairs interleave_high(Bf16zBytes a, Bf16zBytes b) {
  return (Bf16zPairs)_mm512_unpackhi_epi8((__m512i)a, (__m512i)b);
}
#elif defined(__AVX2__)
struct Bf16zTables {
  __m256i low_bits, high_bits;
  MOEKIT_INLINE explicit Bf16zTables(std::uint8_t base) {
    const Bf16zExponents e(base);
    low_bits = _mm256_broadcastsi128_si256(e.low);
    high_bits = _mm256_broadcastsi128_si256(e.high);
  }
  MOEKIT_INLINE Bf16zBytes low(Bf16zBytes codes) const {
    return (Bf16zBytes)_mm256_shuffle_epi8(low_bits, (__m256i)codes);
  }
  MOEKIT_INLINE Bf16zBytes high(Bf16zBytes codes) const {
    return (Bf16zBytes)_mm256_shuffle_epi8(high_bits, (__m256i)codes);
  }
};
MOEKIT_INLINE Bf16zPairs interleave_low(Bf16zBytes a, Bf16zBytes b) {
  return (Bf16zPairs)_mm256_unpacklo_epi8((__m256i)a, (__m256i)b);
}
MOEKIT_INLINE Bf16zPairs interleave_high(Bf16zBytes a, Bf16zBytes b) {
  return (Bf16zPairs)_mm256_unpackhi_epi8((__m256i)a, (__m256i)b);
}
#else
struct Bf16zTables {
  std::uint8_t base;
  MOEKIT_INLINE explicit Bf16zTables(std::uint8_t tile_base) : base(tile_base) {}
  MOEKIT_INLINE Bf16zBytes exponents(Bf16zBytes codes) const {
    return (base - codes) & (Bf16zBytes)(codes != std::uint8_t{15});
  }
  MOEKIT_INLINE Bf16zBytes low(Bf16zBytes codes) const {
    return (Bf16zBytes)((Bf16zShorts)exponents(codes) << 7) & std::uint8_t{0x80};
  }
  MOEKIT_INLINE Bf16zBytes high(Bf16zBytes codes) const {
    return (Bf16zBytes)((Bf16zShorts)exponents(codes) >> 1) & std::uint8_t{0x7f};
  }
};
MOEKIT_INLINE Bf16zPairs interleave_low(Bf16zBytes a, Bf16zBytes b) {
  return (Bf16zPairs)__builtin_shuffle(a, b, Bf16zBytes{0, 16, 1, 17, 2, 18, 3, 19, 4, 20, 5, 21, 6, 22, 7, 23});
}
MOEKIT_INLINE Bf16zPairs interleave_high(Bf16zBytes a, Bf16zBytes b) {
  return (Bf16zPairs)__builtin_shuffle(a, b, Bf16zBytes{8, 24, 9, 25, 10, 26, 11, 27, 12, 28, 13, 29, 14, 30, 15, 31});
}
#endif

/// A part of the lines of pairs 2 g and 2 g + 1 of a tile.
template <int g>
MOEKIT_INLINE void bf16z_lines(const std::byte* tile, int part, const Bf16zTables& tables, Bf16zPairs& first,
                               Bf16zPairs& second) {
  const std::byte* from = tile + g / 2 * 192 + part * kBf16zWidth;
  Bf16zBytes codes = load<Bf16zBytes>(from);
  const Bf16zBytes rest = load<Bf16zBytes>(from + 64 + g % 2 * 64);
  codes = (g % 2 != 0 ? (Bf16zBytes)((Bf16zShorts)codes >> 4) : codes) & std::uint8_t{15};
  const Bf16zBytes low = (rest & std::uint8_t{0x7f}) | tables.low(codes);
  const Bf16zBytes high = (rest & std::uint8_t{0x80}) | tables.high(codes);
  first = interleave_low(low, high);
  second = interleave_high(low, high);
}

/// Where a tile of a step is unpacked to: as it is.
struct Bf16zPlain {
  std::byte* tile;
  MOEKIT_INLINE Bf16zPlain(std::byte* steps, std::int64_t step, int half)
      : tile(steps + step * kStepBytes + half * kSegmentBytes) {}
  MOEKIT_INLINE void line(int pair, int part, const Bf16zPairs& words) const {
    store(tile + pair * kLineBytes + part * kBf16zWidth, words);
  }
  void word(int at, std::uint16_t bits) const { store(tile + at * 2, bits); }
};
/// As float32, of two steps of 16 k.
struct Bf16zWide {
  std::byte* tile;
  MOEKIT_INLINE Bf16zWide(std::byte* steps, std::int64_t step, int half)
      : tile(steps + 2 * step * kStepBytes + half * kSegmentBytes) {}
  MOEKIT_INLINE static std::int64_t at(int pair) { return pair / 8 * kStepBytes + pair % 8 * 2 * kLineBytes; }
  MOEKIT_INLINE void line(int pair, int part, const Bf16zPairs& words) const {
    store(tile + at(pair) + part * kBf16zWidth, words << 16);
    store(tile + at(pair) + kLineBytes + part * kBf16zWidth, words & 0xffff0000u);
  }
  void word(int word, std::uint16_t bits) const {
    store(tile + at(word / 32) + word % 2 * kLineBytes + word % 32 / 2 * 4, std::uint32_t{bits} << 16);
  }
};

template <int g = 0, class To>
MOEKIT_INLINE void store_bf16z_lines(const std::byte* tile, const Bf16zTables& tables, const To& to) {
  if constexpr (g < 8) {
    for (int part = 0; part < kBf16zParts; ++part) {
      Bf16zPairs first, second;
      bf16z_lines<g>(tile, part, tables, first, second);
      to.line(2 * g, part, first);
      to.line(2 * g + 1, part, second);
    }
    store_bf16z_lines<g + 1>(tile, tables, to);
  }
}

template <class To>
MOEKIT_INLINE void unpack_bf16z_tile(const Bf16zFormat& format, const std::byte* panel, std::int64_t step, int half,
                                     const To& to) {
  const std::byte* heads = bf16z_heads(format, panel, half);
  store_bf16z_lines(panel + format.tiles_at() + (2 * step + half) * kBf16zTileBytes,
                    Bf16zTables(bf16z_head(heads, step).base), to);
  const Bf16zRange range = bf16z_exceptions(format, heads, step);
  for (std::int64_t i = range.begin; i < range.end; ++i) {
    const auto exception =
        load<Bf16zException>(heads + format.exceptions_at() + i * static_cast<std::int64_t>(sizeof(Bf16zException)));
    to.word(exception.at % 512, exception.bits);
  }
}

/// Steps [first, first + count) to Bf16zPlain or Bf16zWide.
template <class To>
void unpack_bf16z_steps(const Bf16zFormat& format, const std::byte* panel, std::int64_t first, std::int64_t count,
                        std::byte* steps) noexcept {
  for (std::int64_t s = 0; s < count; ++s)
    for (int half = 0; half < 2; ++half) unpack_bf16z_tile(format, panel, first + s, half, To(steps, s, half));
}

}  // namespace
}  // namespace moekit::cpu
