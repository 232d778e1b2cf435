// SPDX-License-Identifier: Apache-2.0
// MXFP4 (OCP Microscaling 1.0, section 6.3): shared exponent floor(log2(max |w|)) - 2, where 2 is the exponent of
// e2m1's largest number 6; codes rounded to nearest even, beyond 6 the largest.
#include "formats/quantise_blocks.h"

namespace moekit {
namespace {

std::uint8_t to_e2m1(float value) noexcept {
  // Midpoints between neighbours; at a midpoint the even code wins, which alternates.
  constexpr float kMidpoints[] = {0.25f, 0.75f, 1.25f, 1.75f, 2.5f, 3.5f, 5.0f};
  const float magnitude = std::fabs(value);
  std::uint8_t code = 0;
  for (const float midpoint : kMidpoints)
    code = static_cast<std::uint8_t>(code + (magnitude > midpoint || (magnitude == midpoint && code % 2 == 1) ? 1 : 0));
  return static_cast<std::uint8_t>(code | (std::signbit(value) ? 8 : 0));
}

struct Block {
  // e8m0 holds 2^-127 .. 2^127.
  explicit Block(float extreme)
      : exponent(extreme != 0.0f ? std::clamp(std::ilogb(extreme) - 2, -127, 127) : -127),
        scale(std::ldexp(1.0f, exponent)) {}
  std::uint8_t code(float weight) const { return to_e2m1(std::ldexp(weight, -exponent)); }
  int exponent;
  float scale;
};

}  // namespace

void quantise_mxfp4(const float* rows, QuantRows& out);
void quantise_mxfp4(const float* rows, QuantRows& out) { quantise_blocks<Block>(rows, out); }

}  // namespace moekit
