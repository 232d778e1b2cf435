// SPDX-License-Identifier: Apache-2.0
// Symmetric int8: scale = max |w| / 127 a group, codes rounded to nearest even.
#include <algorithm>
#include <cmath>

#include "formats/format.h"

namespace moekit {

void quantise_int8(const float* rows, QuantRows& out);
void quantise_int8(const float* rows, QuantRows& out) {
  const std::int64_t groups = out.groups(), group = out.format.group == 0 ? out.cols : out.format.group;
  for (std::int64_t r = 0; r < out.rows; ++r)
    for (std::int64_t g = 0; g < groups; ++g) {
      const std::int64_t first = g * group, last = std::min(first + group, out.cols);
      const float* row = rows + r * out.cols;
      float largest = 0.0f;
      for (std::int64_t k = first; k < last; ++k) largest = std::max(largest, std::fabs(row[k]));
      const float scale = largest / 127.0f, inverse = scale > 0.0f ? 1.0f / scale : 0.0f;
      out.scales[static_cast<std::size_t>(r * groups + g)] = scale;
      for (std::int64_t k = first; k < last; ++k) {
        const float code = std::clamp(std::nearbyint(row[k] * inverse), -127.0f, 127.0f);
        out.codes[static_cast<std::size_t>(r * out.cols + k)] =
            static_cast<std::uint8_t>(static_cast<std::int8_t>(code));
      }
    }
}

}  // namespace moekit
