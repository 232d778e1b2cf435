// SPDX-License-Identifier: Apache-2.0
// Symmetric int4 with codes -8 .. 7: the weight of largest magnitude in a group becomes -8, so that all sixteen codes
// are used; the scale (which may be negative) is rounded to bfloat16 before the codes are chosen.
#include "core/float_convert.h"
#include "formats/quantise_blocks.h"

namespace moekit {
namespace {

struct Block {
  explicit Block(float extreme) : scale(round_to_bf16(extreme / -8.0f)), inverse(scale != 0.0f ? 1.0f / scale : 0.0f) {}
  std::uint8_t code(float weight) const {
    const float rounded = std::clamp(std::nearbyint(weight * inverse), -8.0f, 7.0f);
    return static_cast<std::uint8_t>(rounded + 8.0f);
  }
  float scale, inverse;
};

}  // namespace

void quantise_int4(const float* rows, QuantRows& out);
void quantise_int4(const float* rows, QuantRows& out) { quantise_blocks<Block>(rows, out); }

}  // namespace moekit
