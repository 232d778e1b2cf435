// SPDX-License-Identifier: Apache-2.0
// Products of bytes for int_panel.h on Arm with FEAT_DotProd: both operands signed.
#pragma once

#include <arm_neon.h>

#include "backends/cpu/vec.h"

namespace moekit::cpu {
namespace {

struct NeonDot {
  static constexpr bool kSignedCodes = true;
  static constexpr int kRows = 2;  // four registers for each sum, of 32
  static constexpr bool kSmallCodes = false;

  struct Quarters {
    int8x16_t at[4];
  };

  MOEKIT_INLINE static I16 add(I16 sums, U16 codes, std::int32_t word) {
    const int8x16_t x = vreinterpretq_s8_s32(vdupq_n_s32(word));
    const auto w = load<Quarters>(&codes);
    struct {
      int32x4_t at[4];
    } s;
    std::memcpy(&s, &sums, sizeof s);
#pragma GCC unroll 4
    for (int i = 0; i < 4; ++i) s.at[i] = vdotq_s32(s.at[i], w.at[i], x);
    return load<I16>(&s);
  }
  MOEKIT_INLINE static U16 lookup(const std::uint8_t (&table)[16], U16 nibbles) {
    const auto entries = vreinterpretq_s8_u8(vld1q_u8(table));
    auto n = load<Quarters>(&nibbles);
#pragma GCC unroll 4
    for (int i = 0; i < 4; ++i) n.at[i] = vqtbl1q_s8(entries, vreinterpretq_u8_s8(n.at[i]));
    return load<U16>(&n);
  }
};

}  // namespace
}  // namespace moekit::cpu
