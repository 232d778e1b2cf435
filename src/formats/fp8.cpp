// SPDX-License-Identifier: Apache-2.0
// FP8 e4m3 in blocks of scale_rows x group (128 x 128): scale = max |w| / 448, the largest e4m3 number.
#include "core/float_convert.h"
#include "formats/quantise_blocks.h"

namespace moekit {
namespace {

struct Block {
  explicit Block(float extreme) : scale(std::fabs(extreme) / 448.0f), inverse(scale > 0.0f ? 1.0f / scale : 0.0f) {}
  std::uint8_t code(float weight) const { return float_to_fp8_e4m3(weight * inverse); }
  float scale, inverse;
};

}  // namespace

void quantise_fp8(const float* rows, QuantRows& out);
void quantise_fp8(const float* rows, QuantRows& out) { quantise_blocks<Block>(rows, out); }

}  // namespace moekit
