// SPDX-License-Identifier: Apache-2.0
#include "device.h"

#include <cstring>

namespace double_test {

namespace {

int bits_of(int dtype) {
  switch (dtype) {
    case kInt4: return 4;
    case kInt8:
    case kUint8:
    case kBool: return 8;
    case kHalf:
    case kBfloat: return 16;
    case kInt64: return 64;
    default: return 32;
  }
}

// Rounds to `digits` significant bits with the smallest exponent `lowest`: any binary floating type, by its definition.
double round_binary(double value, int digits, int lowest, double largest) {
  if (value == 0 || !std::isfinite(value)) return value;
  int exponent;
  std::frexp(value, &exponent);
  const int unit = std::max(exponent - digits, lowest - digits + 1);
  const double result = std::ldexp(std::nearbyint(std::ldexp(value, -unit)), unit);
  return std::fabs(result) > largest ? std::copysign(INFINITY, value) : result;
}

uint16_t half_bits(double value) {  // of a value that half holds
  const uint16_t sign = std::signbit(value) ? 0x8000 : 0;
  if (std::isnan(value)) return sign | 0x7E00;
  if (std::isinf(value)) return sign | 0x7C00;
  int exponent;
  const double fraction = std::frexp(std::fabs(value), &exponent);
  if (value == 0) return sign;
  if (exponent < -13) return static_cast<uint16_t>(sign | static_cast<int>(std::ldexp(std::fabs(value), 24)));
  return static_cast<uint16_t>(sign | ((exponent + 14) << 10) | (static_cast<int>(std::ldexp(fraction, 11)) - 1024));
}

double half_value(uint16_t bits) {
  const double sign = bits & 0x8000 ? -1 : 1;
  const int exponent = bits >> 10 & 31, mantissa = bits & 1023;
  if (exponent == 31) return mantissa ? NAN : sign * INFINITY;
  return sign * (exponent ? std::ldexp(1024 + mantissa, exponent - 25) : std::ldexp(mantissa, -24));
}

}  // namespace

size_t bytes_of(int dtype, int64_t elements) { return static_cast<size_t>((elements * bits_of(dtype) + 7) / 8); }

double rounded(int dtype, double value) {
  switch (dtype) {
    case kFloat: return static_cast<float>(value);
    case kHalf: return round_binary(value, 11, -14, 65504);
    case kBfloat: return round_binary(value, 8, -126, 3.3895313892515355e38);
    default: return std::nearbyint(value);
  }
}

std::vector<uint8_t> encode(int dtype, const std::vector<double>& values) {
  std::vector<uint8_t> bytes(bytes_of(dtype, static_cast<int64_t>(values.size())));
  const auto put = [&](size_t i, auto value) { std::memcpy(bytes.data() + i * sizeof(value), &value, sizeof(value)); };
  for (size_t i = 0; i < values.size(); ++i) {
    const double value = rounded(dtype, values[i]);
    const auto single = static_cast<float>(value);
    uint32_t bits;
    std::memcpy(&bits, &single, 4);
    switch (dtype) {
      case kFloat: put(i, single); break;
      case kHalf: put(i, half_bits(value)); break;
      case kBfloat: put(i, static_cast<uint16_t>(bits >> 16)); break;
      case kInt8: put(i, static_cast<int8_t>(value)); break;
      case kUint8:
      case kBool: put(i, static_cast<uint8_t>(value)); break;
      case kInt32: put(i, static_cast<int32_t>(value)); break;
      case kInt64: put(i, static_cast<int64_t>(value)); break;
      case kInt4:
        bytes[i / 2] = static_cast<uint8_t>(bytes[i / 2] | (static_cast<int>(value) & 15) << (i % 2 * 4));
        break;
    }
  }
  return bytes;
}

std::vector<double> decode(int dtype, const std::vector<uint8_t>& bytes, int64_t elements) {
  std::vector<double> values;
  const auto get = [&](int64_t i, auto kind) {
    std::memcpy(&kind, bytes.data() + static_cast<size_t>(i) * sizeof(kind), sizeof(kind));
    return kind;
  };
  for (int64_t i = 0; i < elements; ++i) {
    switch (dtype) {
      case kFloat: values.push_back(get(i, float{})); break;
      case kHalf: values.push_back(half_value(get(i, uint16_t{}))); break;
      case kBfloat: {
        const uint32_t bits = uint32_t{get(i, uint16_t{})} << 16;
        float value;
        std::memcpy(&value, &bits, 4);
        values.push_back(value);
        break;
      }
      case kInt8: values.push_back(get(i, int8_t{})); break;
      case kUint8:
      case kBool: values.push_back(get(i, uint8_t{})); break;
      case kInt64: values.push_back(static_cast<double>(get(i, int64_t{}))); break;
      default: values.push_back(get(i, int32_t{})); break;
    }
  }
  return values;
}

TestTensor::TestTensor(int type, std::vector<int64_t> shape, const std::vector<double>* values)
    : dtype(type), dims(std::move(shape)) {
  const size_t bytes = bytes_of(dtype, elements());
  const int64_t count = elements();
  EXPECT_EQ(status("aclrtMalloc", &address, bytes + (bytes == 0), 0), 0) << recent_message();
  if (values != nullptr && bytes > 0) {
    const std::vector<uint8_t> host = encode(dtype, *values);
    EXPECT_EQ(status("aclrtMemcpy", address, bytes, static_cast<const void*>(host.data()), bytes, int{kHostToDevice}),
              0);
  }
  handle = call<const void*>("aclCreateTensor", dims.data(), uint64_t{dims.size()}, dtype,
                             static_cast<const int64_t*>(nullptr), int64_t{0}, 2, &count, uint64_t{1}, address);
  EXPECT_NE(handle, nullptr) << recent_message();
}

TestTensor::~TestTensor() {
  EXPECT_EQ(status("aclDestroyTensor", handle), 0);
  EXPECT_EQ(status("aclrtFree", address), 0) << recent_message();
}

int64_t TestTensor::elements() const {
  int64_t count = 1;
  for (const int64_t dim : dims) count *= dim;
  return count;
}

std::vector<uint8_t> TestTensor::read_bytes() const {
  std::vector<uint8_t> bytes(bytes_of(dtype, elements()));
  if (bytes.empty()) return bytes;
  EXPECT_EQ(status("aclrtMemcpy", static_cast<void*>(bytes.data()), bytes.size(), static_cast<const void*>(address),
                   bytes.size(), int{kDeviceToHost}),
            0)
      << recent_message();
  return bytes;
}

std::vector<double> TestTensor::read() const { return decode(dtype, read_bytes(), elements()); }

}  // namespace double_test
