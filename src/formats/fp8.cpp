// SPDX-License-Identifier: Apache-2.0
// FP8 e4m3 in blocks of scale_rows x group (128 x 128): scale = max |w| / 448, the largest e4m3 number.
#include <algorithm>
#include <cmath>

#include "core/float_convert.h"
#include "formats/format.h"

namespace moekit {
namespace {

// Round to nearest even among the 127 magnitudes of e4m3; beyond 448 the largest.
std::uint8_t to_e4m3(float value) noexcept {
  const std::uint8_t sign = std::signbit(value) ? 0x80 : 0;
  const float magnitude = std::fabs(value);
  if (std::isnan(value)) return sign | 0x7f;
  if (magnitude >= 448.0f) return sign | 0x7e;
  // The step is 2^(e - 3) for 2^e <= magnitude, and 2^-9 below the smallest normal number 2^-6.
  int exponent = 0;
  std::frexp(magnitude, &exponent);
  const int e = std::max(exponent - 1, -6);
  const auto steps = static_cast<int>(std::nearbyint(std::ldexp(magnitude, 3 - e)));  // 0 .. 16
  // A normal number has 8 .. 15 steps; 16 carry into the exponent by themselves.
  return static_cast<std::uint8_t>(sign | ((e + 6) * 8 + steps));
}

}  // namespace

void quantise_fp8(const float* rows, QuantRows& out);
void quantise_fp8(const float* rows, QuantRows& out) {
  const std::int64_t groups = out.groups(), group = out.format.group == 0 ? out.cols : out.format.group;
  for (std::int64_t top = 0; top < out.rows; top += out.format.scale_rows)
    for (std::int64_t g = 0; g < groups; ++g) {
      const std::int64_t bottom = std::min(top + out.format.scale_rows, out.rows);
      const std::int64_t first = g * group, last = std::min(first + group, out.cols);
      float largest = 0.0f;
      for (std::int64_t r = top; r < bottom; ++r)
        for (std::int64_t k = first; k < last; ++k) largest = std::max(largest, std::fabs(rows[r * out.cols + k]));
      const float scale = largest / 448.0f, inverse = scale > 0.0f ? 1.0f / scale : 0.0f;
      for (std::int64_t r = top; r < bottom; ++r) {
        out.scales[static_cast<std::size_t>(r * groups + g)] = scale;
        for (std::int64_t k = first; k < last; ++k)
          out.codes[static_cast<std::size_t>(r * out.cols + k)] = to_e4m3(rows[r * out.cols + k] * inverse);
      }
    }
}

}  // namespace moekit
