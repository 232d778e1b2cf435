// SPDX-License-Identifier: Apache-2.0
// MXFP4 (OCP Microscaling 1.0, section 6.3): shared exponent floor(log2(max |w|)) - 2, where 2 is the exponent of e2m1's
// largest number 6; codes rounded to nearest even, beyond 6 the largest.
#include <algorithm>
#include <cmath>

#include "formats/format.h"

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

}  // namespace

void quantise_mxfp4(const float* rows, QuantRows& out);
void quantise_mxfp4(const float* rows, QuantRows& out) {
  const std::int64_t groups = out.groups(), group = out.format.group;
  for (std::int64_t r = 0; r < out.rows; ++r)
    for (std::int64_t g = 0; g < groups; ++g) {
      const std::int64_t first = g * group, last = std::min(first + group, out.cols);
      const float* row = rows + r * out.cols;
      float largest = 0.0f;
      for (std::int64_t k = first; k < last; ++k) largest = std::max(largest, std::fabs(row[k]));
      // e8m0 holds 2^-127 .. 2^127.
      const int exponent = largest > 0.0f ? std::clamp(std::ilogb(largest) - 2, -127, 127) : -127;
      out.scales[static_cast<std::size_t>(r * groups + g)] = std::ldexp(1.0f, exponent);
      for (std::int64_t k = first; k < last; ++k)
        out.codes[static_cast<std::size_t>(r * out.cols + k)] = to_e2m1(std::ldexp(row[k], -exponent));
    }
}

}  // namespace moekit
