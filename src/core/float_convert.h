// SPDX-License-Identifier: Apache-2.0
// Scalar conversions between float32 and the short floating types. Round to nearest even; NaN stays NaN (made quiet).
#pragma once

#include <cstdint>
#include <cstring>

#include "moekit/core.h"

namespace moekit {

/// The same bits as another type of that size.
template <class To, class From>
inline To bits_as(From from) noexcept {
  static_assert(sizeof(To) == sizeof(From));
  To to;
  std::memcpy(&to, &from, sizeof to);
  return to;
}

inline float float_from_bits(std::uint32_t bits) noexcept { return bits_as<float>(bits); }

inline std::uint32_t bits_from_float(float value) noexcept { return bits_as<std::uint32_t>(value); }

/// Both sides are computed, so that loops of choices are of vectors.
inline std::int32_t choose(bool first, std::int32_t a, std::int32_t b) noexcept {
  const std::int32_t mask = -static_cast<std::int32_t>(first);
  return (a & mask) | (b & ~mask);
}

inline float bf16_to_float(std::uint16_t value) noexcept { return float_from_bits(std::uint32_t{value} << 16); }

inline std::uint16_t float_to_bf16(float value) noexcept {
  const std::uint32_t bits = bits_from_float(value);
  if ((bits & 0x7fffffffu) > 0x7f800000u) return static_cast<std::uint16_t>((bits >> 16) | 0x40u);
  return static_cast<std::uint16_t>((bits + 0x7fffu + ((bits >> 16) & 1u)) >> 16);
}

inline float round_to_bf16(float value) noexcept { return bf16_to_float(float_to_bf16(value)); }

/// IEEE binary16: 5 exponent bits (bias 15), 10 mantissa bits.
float fp16_to_float(std::uint16_t value) noexcept;
std::uint16_t float_to_fp16(float value) noexcept;
/// OCP e4m3fn: 4 exponent bits (bias 7), 3 mantissa bits, no infinity, 0x7f is NaN.
float fp8_e4m3_to_float(std::uint8_t value) noexcept;
/// Round to nearest even; beyond 448 the largest.
std::uint8_t float_to_fp8_e4m3(float value) noexcept;
/// OCP e5m2: the high byte of a binary16.
float fp8_e5m2_to_float(std::uint8_t value) noexcept;
/// OCP e8m0: 2^(value - 127), 255 is NaN.
float fp8_e8m0_to_float(std::uint8_t value) noexcept;

/// Element `index` of an array of any dtype as float32.
float load_as_float(const void* data, DType dtype, std::int64_t index) noexcept;
/// `count` elements, `stride` elements apart, as float32.
void load_as_float(const void* data, DType dtype, std::int64_t first, std::int64_t stride, std::int64_t count,
                   float* out) noexcept;
/// float32, bfloat16 or float16 store.
void store_float(void* data, DType dtype, std::int64_t index, float value) noexcept;

}  // namespace moekit
