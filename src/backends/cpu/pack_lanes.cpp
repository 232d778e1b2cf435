// SPDX-License-Identifier: Apache-2.0
#include "backends/cpu/pack_lanes.h"

#include <algorithm>
#include <cstring>

#include "core/float_convert.h"
#include "core/transpose.h"

namespace moekit::cpu {
namespace {

// Conversions of numbers that the dtype has.

// Magnitude bits of a float to a code of its magnitude: exponents with another bias from `smallest` on, below it
// the number of units.
struct Magnitudes {
  int mantissa;           // bits
  std::int32_t smallest;  // bits of the smallest normal number
  float per_unit;         // of the numbers below
  std::int32_t infinity, nan;
};

template <class Rules>
std::int32_t exact_code(float value) noexcept {
  constexpr Magnitudes kRules = Rules::kRules;
  constexpr std::int32_t kOne = 0x3f800000, kInfinity = 0x7f800000;
  const std::uint32_t bits = bits_from_float(value);
  const auto magnitude = static_cast<std::int32_t>(bits & 0x7fffffffu);
  // Large numbers and NaN have no use for the number of units and shall not overflow.
  const float few = float_from_bits(static_cast<std::uint32_t>(choose(magnitude < kOne, magnitude, kOne)));
  const auto small = static_cast<std::int32_t>(few * kRules.per_unit);
  const std::int32_t normal = ((magnitude - kRules.smallest) >> (23 - kRules.mantissa)) + (1 << kRules.mantissa);
  const std::int32_t special = choose(magnitude > kInfinity, kRules.nan, kRules.infinity);
  return choose(magnitude < kRules.smallest, small, choose(magnitude >= kInfinity, special, normal));
}

struct Fp16 {
  static constexpr Magnitudes kRules = {10, 0x38800000, 0x1p24f, 0x7c00, 0x7e00};
};
struct E4m3 {
  static constexpr Magnitudes kRules = {3, 0x3c800000, 0x1p9f, 0x7f, 0x7f};
};

// Zero and normal numbers, which are nearly all: without what the others need. `others` counts those.
template <class Rules>
std::int32_t usual_code(float value, std::int32_t& others) noexcept {
  constexpr Magnitudes kRules = Rules::kRules;
  const auto magnitude = static_cast<std::int32_t>(bits_from_float(value) & 0x7fffffffu);
  const std::int32_t above = magnitude - kRules.smallest;  // below 0 for small numbers, and for 0
  const auto zero = static_cast<std::int32_t>(magnitude == 0);
  others += (static_cast<std::int32_t>(above < 0) ^ zero) + static_cast<std::int32_t>(magnitude >= 0x7f800000);
  return ((above >> (23 - kRules.mantissa)) + (1 << kRules.mantissa)) & (zero - 1);
}

template <class T>
T with_sign(std::int32_t code, float value) noexcept {
  constexpr std::uint32_t kSign = 1u << (8 * sizeof(T) - 1);
  return static_cast<T>(static_cast<std::uint32_t>(code) | (bits_from_float(value) >> (32 - 8 * sizeof(T)) & kSign));
}

template <class Rules, class T>
void convert_short(const std::vector<float>& values, std::vector<std::byte>& out) {
  constexpr std::int64_t kPiece = 128;  // the rare numbers cost their piece a second turn
  out.resize(values.size() * sizeof(T));
  const auto total = static_cast<std::int64_t>(values.size());
  for (std::int64_t at = 0; at < total; at += kPiece) {
    const std::int64_t count = std::min(kPiece, total - at);
    const float* from = values.data() + at;
    T* to = reinterpret_cast<T*>(out.data()) + at;
    std::int32_t others = 0;
    for (std::int64_t i = 0; i < count; ++i) to[i] = with_sign<T>(usual_code<Rules>(from[i], others), from[i]);
    for (std::int64_t i = 0; others != 0 && i < count; ++i) to[i] = with_sign<T>(exact_code<Rules>(from[i]), from[i]);
  }
}

std::uint16_t exact_bf16(float value) noexcept { return static_cast<std::uint16_t>(bits_from_float(value) >> 16); }
std::uint8_t exact_e8m0(float value) noexcept { return static_cast<std::uint8_t>(bits_from_float(value) >> 23); }
std::uint8_t exact_integer(float value) noexcept { return static_cast<std::uint8_t>(static_cast<std::int32_t>(value)); }

template <class T, class Convert>
void convert_all(const std::vector<float>& values, std::vector<std::byte>& out, Convert convert) {
  out.resize(values.size() * sizeof(T));
  auto* to = reinterpret_cast<T*>(out.data());
  const auto count = static_cast<std::int64_t>(values.size());
  for (std::int64_t i = 0; i < count; ++i) to[i] = convert(values[static_cast<std::size_t>(i)]);
}

}  // namespace

void pack_lanes(const std::vector<float>& values, std::int64_t rows, std::int64_t width, std::int64_t first,
                DType dtype, std::vector<float>& turned, std::vector<std::byte>& out) {
  turned.resize(static_cast<std::size_t>(width * kTileColumns));
  const std::int64_t present = std::clamp<std::int64_t>(rows - first, 0, kTileColumns);
  const std::int64_t by_four = present == kTileColumns ? width / 4 * 4 : 0;
  const float* from = values.data() + std::min(first, rows) * width;
  for (std::int64_t at = 0; at < by_four; at += 4)
    for (std::int64_t c = 0; c < kTileColumns; c += 4)
      transpose4(reinterpret_cast<const std::byte*>(from + c * width + at), width * 4,
                 reinterpret_cast<std::byte*>(turned.data() + at * kTileColumns + c), kTileColumns * 4);
  for (std::int64_t at = by_four; at < width; ++at)
    for (std::int64_t c = 0; c < kTileColumns; ++c)
      turned[static_cast<std::size_t>(at * kTileColumns + c)] = c < present ? from[c * width + at] : 0.0f;
  switch (dtype) {
    case DType::kBFloat16: return convert_all<std::uint16_t>(turned, out, exact_bf16);
    case DType::kFloat16: return convert_short<Fp16, std::uint16_t>(turned, out);
    case DType::kFloat8E8M0: return convert_all<std::uint8_t>(turned, out, exact_e8m0);
    case DType::kFloat8E4M3: return convert_short<E4m3, std::uint8_t>(turned, out);
    case DType::kUInt8:
    case DType::kInt8: return convert_all<std::uint8_t>(turned, out, exact_integer);
    default: return convert_all<float>(turned, out, [](float value) { return value; });
  }
}

}  // namespace moekit::cpu
