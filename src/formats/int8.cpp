// SPDX-License-Identifier: Apache-2.0
// Symmetric int8: scale = max |w| / 127 a group, codes rounded to nearest even.
#include "formats/quantise_blocks.h"

namespace moekit {
namespace {

struct Block {
  explicit Block(float extreme) : scale(std::fabs(extreme) / 127.0f), inverse(scale > 0.0f ? 1.0f / scale : 0.0f) {}
  std::uint8_t code(float weight) const {
    const float rounded = std::clamp(std::nearbyint(weight * inverse), -127.0f, 127.0f);
    return static_cast<std::uint8_t>(static_cast<std::int8_t>(rounded));
  }
  float scale, inverse;
};

}  // namespace

void quantise_int8(const float* rows, QuantRows& out);
void quantise_int8(const float* rows, QuantRows& out) { quantise_blocks<Block>(rows, out); }

}  // namespace moekit
