// SPDX-License-Identifier: Apache-2.0
#include "number.h"

#include <cmath>
#include <cstring>

#include "failure.h"
#include "settings.h"

namespace ascend_double {

namespace {

template <class T>
T get(const std::byte* data, int64_t index) {
  T value;
  std::memcpy(&value, data + index * static_cast<int64_t>(sizeof(T)), sizeof(T));
  return value;
}

template <class T>
void put(std::byte* data, int64_t index, T value) {
  std::memcpy(data + index * static_cast<int64_t>(sizeof(T)), &value, sizeof(T));
}

uint32_t bits_of(float value) {
  uint32_t bits;
  std::memcpy(&bits, &value, sizeof(bits));
  return bits;
}

float float_of_bits(uint32_t bits) {
  float value;
  std::memcpy(&value, &bits, sizeof(value));
  return value;
}

int64_t clamp(double value, int64_t low, int64_t high) {
  if (std::isnan(value)) return 0;
  const double rounded = std::nearbyint(value);
  if (rounded <= static_cast<double>(low)) return low;
  if (rounded >= static_cast<double>(high)) return high;
  return static_cast<int64_t>(rounded);
}

// Two elements a byte, the even one in the low half.
int int4_at(const std::byte* data, int64_t index) {
  const int byte = std::to_integer<int>(data[index / 2]);
  const int nibble = index % 2 == 0 ? byte & 0xF : byte >> 4;
  return nibble < 8 ? nibble : nibble - 16;
}

void put_int4(std::byte* data, int64_t index, int64_t value) {
  const int shift = index % 2 == 0 ? 0 : 4;
  const auto mask = static_cast<std::byte>(0xF << shift);
  data[index / 2] = (data[index / 2] & ~mask) | (static_cast<std::byte>(value << shift) & mask);
}

}  // namespace

float float_of_half(uint16_t bits) {
  const int exponent = bits >> 10 & 0x1F;
  const int mantissa = bits & 0x3FF;
  const float sign = bits & 0x8000 ? -1.0f : 1.0f;
  if (exponent == 31) return mantissa ? float_of_bits(0x7FC00000u | uint32_t{bits & 0x8000u} << 16) : sign * INFINITY;
  if (exponent == 0) return sign * std::ldexp(static_cast<float>(mantissa), -24);
  return sign * std::ldexp(static_cast<float>(mantissa + 1024), exponent - 25);
}

uint16_t half_of_float(float value) {
  const uint16_t sign = static_cast<uint16_t>(bits_of(value) >> 16 & 0x8000u);
  if (std::isnan(value)) return sign | 0x7E00;
  const float magnitude = std::fabs(value);
  if (magnitude == 0) return sign;
  if (magnitude >= 65520.0f) return sign | 0x7C00;  // halfway from the largest, 65504, to the next: rounds to infinity
  int exponent = 0;
  std::frexp(magnitude, &exponent);                            // magnitude < 2^exponent
  const int unit = exponent - 11 < -24 ? -24 : exponent - 11;  // of the last of 11 bits; subnormal below 2^-14
  const auto units = static_cast<uint32_t>(std::nearbyint(std::ldexp(magnitude, -unit)));
  // units <= 2048, and 2048 carries into the exponent by itself.
  return static_cast<uint16_t>(sign | (unit == -24 ? units : (static_cast<uint32_t>(unit + 24) << 10) + units));
}

float float_of_bfloat(uint16_t bits) { return float_of_bits(uint32_t{bits} << 16); }

uint16_t bfloat_of_float(float value) {
  const uint32_t bits = bits_of(value);
  if (std::isnan(value)) return static_cast<uint16_t>(bits >> 16 | 0x40);
  return static_cast<uint16_t>((bits + 0x7FFF + (bits >> 16 & 1)) >> 16);
}

double load_number(DataType dtype, const std::byte* data, int64_t index) {
  switch (dtype) {
    case DataType::kFloat: return get<float>(data, index);
    case DataType::kFloat16: return float_of_half(get<uint16_t>(data, index));
    case DataType::kBFloat16: return float_of_bfloat(get<uint16_t>(data, index));
    case DataType::kDouble: return get<double>(data, index);
    default: return static_cast<double>(load_integer(dtype, data, index));
  }
}

int64_t load_integer(DataType dtype, const std::byte* data, int64_t index) {
  switch (dtype) {
    case DataType::kInt4: return int4_at(data, index);
    case DataType::kInt8: return get<int8_t>(data, index);
    case DataType::kUint8: return get<uint8_t>(data, index);
    case DataType::kBool: return get<uint8_t>(data, index) != 0;
    case DataType::kInt16: return get<int16_t>(data, index);
    case DataType::kUint16: return get<uint16_t>(data, index);
    case DataType::kInt32: return get<int32_t>(data, index);
    case DataType::kUint32: return get<uint32_t>(data, index);
    case DataType::kInt64: return get<int64_t>(data, index);
    case DataType::kUint64: return static_cast<int64_t>(get<uint64_t>(data, index));
    default: return clamp(load_number(dtype, data, index), INT64_MIN, INT64_MAX);
  }
}

void store_number(DataType dtype, std::byte* data, int64_t index, double value) {
  switch (dtype) {
    case DataType::kFloat: return put(data, index, static_cast<float>(value));
    case DataType::kFloat16: return put(data, index, half_of_float(static_cast<float>(value)));
    case DataType::kBFloat16: return put(data, index, bfloat_of_float(static_cast<float>(value)));
    case DataType::kDouble: return put(data, index, value);
    case DataType::kBool: return put(data, index, static_cast<uint8_t>(value != 0));
    default: return store_integer(dtype, data, index, clamp(value, INT64_MIN, INT64_MAX));
  }
}

void store_integer(DataType dtype, std::byte* data, int64_t index, int64_t value) {
  const auto within = [value](int64_t low, int64_t high) { return value < low ? low : value > high ? high : value; };
  switch (dtype) {
    case DataType::kInt4: return put_int4(data, index, within(-8, 7));
    case DataType::kInt8: return put(data, index, static_cast<int8_t>(within(INT8_MIN, INT8_MAX)));
    case DataType::kUint8: return put(data, index, static_cast<uint8_t>(within(0, UINT8_MAX)));
    case DataType::kBool: return put(data, index, static_cast<uint8_t>(value != 0));
    case DataType::kInt16: return put(data, index, static_cast<int16_t>(within(INT16_MIN, INT16_MAX)));
    case DataType::kUint16: return put(data, index, static_cast<uint16_t>(within(0, UINT16_MAX)));
    case DataType::kInt32: return put(data, index, static_cast<int32_t>(within(INT32_MIN, INT32_MAX)));
    case DataType::kUint32: return put(data, index, static_cast<uint32_t>(within(0, UINT32_MAX)));
    case DataType::kInt64: return put(data, index, value);
    case DataType::kUint64: return put(data, index, static_cast<uint64_t>(within(0, INT64_MAX)));
    default: return store_number(dtype, data, index, static_cast<double>(value));
  }
}

double jittered(DataType dtype, double value) {
  if (!is_floating(dtype) || value == 0 || !std::isfinite(value) || !settings().jitter()) return value;
  thread_local uint64_t counter = 0;  // a stream is a thread: the same units whatever others do meanwhile
  uint64_t mixed =
      (settings().seed() + ++counter) * 0x9E3779B97F4A7C15u;  // splitmix64's constants (Steele et al. 2014)
  mixed = (mixed ^ mixed >> 30) * 0xBF58476D1CE4E5B9u;
  const double part = static_cast<double>(mixed >> 11) * 0x1p-52 - 1.0;  // [-1, 1)
  const double unit = dtype == DataType::kBFloat16 ? 0x1p-8 : dtype == DataType::kFloat16 ? 0x1p-11 : 0x1p-20;
  return value * (1.0 + part * unit);
}

}  // namespace ascend_double
