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

  MOEKIT_INLINE static I16 add(I16 sums, U16 codes, std::int32_t word) {
    const int8x16_t x = vreinterpretq_s8_s32(vdupq_n_s32(word));
    const auto dot = [x](auto s, auto w)
                         MOEKIT_INLINED { return (IntRegister)vdotq_s32((int32x4_t)s, (int8x16_t)w, x); };
    return by_register(dot, sums, codes);
  }
  MOEKIT_INLINE static U16 lookup(const std::uint8_t (&table)[16], U16 nibbles) {
    const auto entries = vreinterpretq_s8_u8(vld1q_u8(table));
    const auto find = [entries](auto n) MOEKIT_INLINED { return (WordRegister)vqtbl1q_s8(entries, (uint8x16_t)n); };
    return by_register(find, nibbles);
  }
};

}  // namespace
}  // namespace moekit::cpu
