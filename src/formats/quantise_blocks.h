// SPDX-License-Identifier: Apache-2.0
// The loop of all quantisers: blocks of scale_rows x group weights, each with one scale.
#pragma once

#include <algorithm>
#include <cmath>

#include "formats/quant_rows.h"

namespace moekit {

/// Block(extreme) is made for each block from its weight of largest magnitude (the first of equals) and has `scale` and
/// code(weight). Weights are finite: read_quantised() has checked them.
template <class Block>
void quantise_blocks(const float* rows, QuantRows& out) {
  const std::int64_t groups = out.groups(), group = out.format.group == 0 ? out.cols : out.format.group;
  for (std::int64_t top = 0; top < out.rows; top += out.format.scale_rows)
    for (std::int64_t g = 0; g < groups; ++g) {
      const std::int64_t bottom = std::min(top + out.format.scale_rows, out.rows);
      const std::int64_t first = g * group, last = std::min(first + group, out.cols);
      float extreme = 0.0f;
      for (std::int64_t r = top; r < bottom; ++r)
        for (std::int64_t k = first; k < last; ++k)
          if (std::fabs(rows[r * out.cols + k]) > std::fabs(extreme)) extreme = rows[r * out.cols + k];
      const Block block(extreme);
      for (std::int64_t r = top; r < bottom; ++r) {
        out.scales[static_cast<std::size_t>(r * groups + g)] = block.scale;
        for (std::int64_t k = first; k < last; ++k)
          out.codes[static_cast<std::size_t>(r * out.cols + k)] = block.code(rows[r * out.cols + k]);
      }
    }
}

}  // namespace moekit
