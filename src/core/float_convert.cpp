// SPDX-License-Identifier: Apache-2.0
#include "core/float_convert.h"

#include <algorithm>
#include <cmath>

namespace moekit {
namespace {

// Inlined into the loops below.
float fp16(std::uint16_t value) noexcept {
  const std::int32_t code = value & 0x7fff, sign = value >> 15;
  const std::int32_t normal = (code << 13) + (112 << 23), special = code << 13 | 0x7f800000;
  // Below 2^-14: multiples of 2^-24.
  const auto small = static_cast<std::int32_t>(bits_from_float(static_cast<float>(code) * 0x1p-24f));
  const std::int32_t bits = choose(code < 0x400, small, choose(code >= 0x7c00, special, normal));
  return float_from_bits(static_cast<std::uint32_t>(bits) | static_cast<std::uint32_t>(sign) << 31);
}

float fp8_e4m3(std::uint8_t value) noexcept {
  // Normal: the bits of a float32 with another bias, 127 - 7. Below: mantissa 2^-9.
  const std::int32_t code = value & 0x7f, normal = (code << 20) + (120 << 23);
  const auto small = static_cast<std::int32_t>(bits_from_float(static_cast<float>(code) * 0x1p-9f));
  const auto bits = static_cast<std::uint32_t>(choose(code == 0x7f, 0x7fc00000, choose(code < 8, small, normal)));
  const std::uint32_t sign = code == 0x7f ? 0u : std::uint32_t{value} >> 7 << 31;
  return float_from_bits(bits | sign);
}

float fp8_e8m0(std::uint8_t value) noexcept {
  const std::int32_t code = value;
  // 2^-127 is subnormal; the shift of 255 is infinity's bits.
  const std::int32_t bits = choose(code == 0, 0x00400000, code << 23) | choose(code == 255, 0x00400000, 0);
  return float_from_bits(static_cast<std::uint32_t>(bits));
}

}  // namespace

float fp16_to_float(std::uint16_t value) noexcept { return fp16(value); }
float fp8_e4m3_to_float(std::uint8_t value) noexcept { return fp8_e4m3(value); }
float fp8_e8m0_to_float(std::uint8_t value) noexcept { return fp8_e8m0(value); }

std::uint16_t float_to_fp16(float value) noexcept {
  const std::uint32_t bits = bits_from_float(value), sign = (bits >> 16) & 0x8000u, magnitude = bits & 0x7fffffffu;
  if (magnitude > 0x7f800000u) return static_cast<std::uint16_t>(sign | 0x7e00u);
  if (magnitude >= 0x477ff000u) return static_cast<std::uint16_t>(sign | 0x7c00u);  // rounds to 65536 or is larger
  if (magnitude < 0x38800000u) {  // below 2^-14: a multiple of 2^-24, rounded to even by the current mode
    const float scaled = std::nearbyint(std::ldexp(float_from_bits(magnitude), 24));
    return static_cast<std::uint16_t>(sign | static_cast<std::uint32_t>(scaled));
  }
  const std::uint32_t rounded = magnitude + 0xfffu + ((magnitude >> 13) & 1u);
  return static_cast<std::uint16_t>(sign | ((rounded >> 13) - (112u << 10)));
}

std::uint8_t float_to_fp8_e4m3(float value) noexcept {
  const std::uint8_t sign = std::signbit(value) ? 0x80 : 0;
  const float magnitude = std::fabs(value);
  if (std::isnan(value)) return sign | 0x7f;
  if (magnitude >= 448.0f) return sign | 0x7e;
  if (magnitude == 0.0f) return sign;  // whose exponent frexp gives as 0
  // The step is 2^(e - 3) for 2^e <= magnitude, and 2^-9 below the smallest normal number 2^-6.
  int exponent = 0;
  std::frexp(magnitude, &exponent);
  const int e = std::max(exponent - 1, -6);
  const auto steps = static_cast<int>(std::nearbyint(std::ldexp(magnitude, 3 - e)));  // 0 .. 16
  // A normal number has 8 .. 15 steps; 16 carry into the exponent by themselves.
  return static_cast<std::uint8_t>(sign | ((e + 6) * 8 + steps));
}

float fp8_e5m2_to_float(std::uint8_t value) noexcept {
  return fp16_to_float(static_cast<std::uint16_t>(std::uint32_t{value} << 8));
}

namespace {

template <class T>
T load(const void* data, std::int64_t index) noexcept {
  T value;
  std::memcpy(&value, static_cast<const char*>(data) + index * static_cast<std::int64_t>(sizeof(T)), sizeof(T));
  return value;
}

// One loop a dtype, so that the choice is made outside it.
template <class T, class Convert>
void load_all(const void* data, std::int64_t first, std::int64_t stride, std::int64_t count, float* out,
              Convert convert) noexcept {
  if (stride == 1) {  // a loop of vectors
    for (std::int64_t i = 0; i < count; ++i) out[i] = convert(load<T>(data, first + i));
    return;
  }
  for (std::int64_t i = 0; i < count; ++i) out[i] = convert(load<T>(data, first + i * stride));
}

}  // namespace

void load_as_float(const void* data, DType dtype, std::int64_t first, std::int64_t stride, std::int64_t count,
                   float* out) noexcept {
  const auto cast = [](auto value) { return static_cast<float>(value); };
  switch (dtype) {
    case DType::kFloat64: return load_all<double>(data, first, stride, count, out, cast);
    case DType::kFloat32: return load_all<float>(data, first, stride, count, out, cast);
    case DType::kBFloat16:
      return load_all<std::uint16_t>(data, first, stride, count, out, [](auto v) { return bf16_to_float(v); });
    case DType::kFloat16:
      return load_all<std::uint16_t>(data, first, stride, count, out, [](auto v) { return fp16(v); });
    case DType::kFloat8E4M3:
      return load_all<std::uint8_t>(data, first, stride, count, out, [](auto v) { return fp8_e4m3(v); });
    case DType::kFloat8E5M2:
      return load_all<std::uint8_t>(data, first, stride, count, out, [](auto v) { return fp8_e5m2_to_float(v); });
    case DType::kFloat8E8M0:
      return load_all<std::uint8_t>(data, first, stride, count, out, [](auto v) { return fp8_e8m0(v); });
    case DType::kInt64: return load_all<std::int64_t>(data, first, stride, count, out, cast);
    case DType::kInt32: return load_all<std::int32_t>(data, first, stride, count, out, cast);
    case DType::kInt16: return load_all<std::int16_t>(data, first, stride, count, out, cast);
    case DType::kInt8: return load_all<std::int8_t>(data, first, stride, count, out, cast);
    case DType::kUInt64: return load_all<std::uint64_t>(data, first, stride, count, out, cast);
    case DType::kUInt32: return load_all<std::uint32_t>(data, first, stride, count, out, cast);
    case DType::kUInt16: return load_all<std::uint16_t>(data, first, stride, count, out, cast);
    case DType::kUInt8:
    case DType::kBool: return load_all<std::uint8_t>(data, first, stride, count, out, cast);
  }
}

float load_as_float(const void* data, DType dtype, std::int64_t index) noexcept {
  float value = 0.0f;
  load_as_float(data, dtype, index, 1, 1, &value);
  return value;
}

void store_float(void* data, DType dtype, std::int64_t index, float value) noexcept {
  if (dtype == DType::kBFloat16) {
    static_cast<std::uint16_t*>(data)[index] = float_to_bf16(value);
  } else if (dtype == DType::kFloat16) {
    static_cast<std::uint16_t*>(data)[index] = float_to_fp16(value);
  } else {
    static_cast<float*>(data)[index] = value;
  }
}

}  // namespace moekit
