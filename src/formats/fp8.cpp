// SPDX-License-Identifier: Apache-2.0
// FP8 e4m3 in blocks of scale_rows x group (128 x 128): scale = max |w| / 448, the largest e4m3 number.
#include <algorithm>
#include <cmath>

#include "core/float_convert.h"
#include "formats/format.h"

namespace moekit {

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
          out.codes[static_cast<std::size_t>(r * out.cols + k)] = float_to_fp8_e4m3(rows[r * out.cols + k] * inverse);
      }
    }
}

}  // namespace moekit
