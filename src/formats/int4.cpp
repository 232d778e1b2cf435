// SPDX-License-Identifier: Apache-2.0
// Symmetric int4 with codes -8 .. 7: the weight of largest magnitude in a group becomes -8, so that all sixteen codes are
// used; the scale (which may be negative) is rounded to bfloat16 before the codes are chosen.
#include <algorithm>
#include <cmath>

#include "core/float_convert.h"
#include "formats/format.h"

namespace moekit {

void quantise_int4(const float* rows, QuantRows& out);
void quantise_int4(const float* rows, QuantRows& out) {
  const std::int64_t groups = out.groups(), group = out.format.group;
  for (std::int64_t r = 0; r < out.rows; ++r)
    for (std::int64_t g = 0; g < groups; ++g) {
      const std::int64_t first = g * group, last = std::min(first + group, out.cols);
      const float* row = rows + r * out.cols;
      float extreme = 0.0f;
      for (std::int64_t k = first; k < last; ++k)
        if (std::fabs(row[k]) > std::fabs(extreme)) extreme = row[k];
      const float scale = round_to_bf16(extreme / -8.0f), inverse = scale != 0.0f ? 1.0f / scale : 0.0f;
      out.scales[static_cast<std::size_t>(r * groups + g)] = scale;
      for (std::int64_t k = first; k < last; ++k) {
        const float code = std::clamp(std::nearbyint(row[k] * inverse), -8.0f, 7.0f);
        out.codes[static_cast<std::size_t>(r * out.cols + k)] = static_cast<std::uint8_t>(code + 8.0f);
      }
    }
}

}  // namespace moekit
