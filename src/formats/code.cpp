// SPDX-License-Identifier: Apache-2.0
#include "core/float_convert.h"
#include "moekit/weight_format.h"

namespace moekit {

int code_bits(Code code) noexcept {
  switch (code) {
    case Code::kFloat32: return 32;
    case Code::kBFloat16:
    case Code::kFloat16: return 16;
    case Code::kInt8:
    case Code::kE4M3: return 8;
    case Code::kUInt6: return 6;
    case Code::kUInt5: return 5;
    case Code::kUInt4:
    case Code::kE2M1: return 4;
  }
  return 0;
}

float code_value(Code code, std::uint8_t bits) noexcept {
  constexpr float kE2M1[] = {0.0f, 0.5f, 1.0f, 1.5f, 2.0f, 3.0f, 4.0f, 6.0f};
  switch (code) {
    case Code::kInt8: return static_cast<float>(static_cast<std::int8_t>(bits));
    case Code::kE4M3: return fp8_e4m3_to_float(bits);
    case Code::kE2M1: return (bits & 8) != 0 ? -kE2M1[bits & 7] : kE2M1[bits & 7];
    case Code::kUInt4:
    case Code::kUInt5:
    case Code::kUInt6: return static_cast<float>(bits);
    case Code::kFloat32:
    case Code::kBFloat16:
    case Code::kFloat16: break;
  }
  return 0.0f;
}

}  // namespace moekit
