// SPDX-License-Identifier: Apache-2.0
// Products of bytes for int_panel.h with the compiler's vector extensions only.
#pragma once

#include "backends/cpu/vec.h"

namespace moekit::cpu {
namespace {

struct GenericDot {
  static constexpr bool kSignedCodes = false;
  static constexpr int kRows = 1;
  static constexpr bool kSmallCodes = false;

  MOEKIT_INLINE static I16 add(I16 sums, U16 codes, std::int32_t word) {
    // In 16 bits, which hold a product (255 * 128 < 2^15) and which every ISA multiplies: even bytes, odd bytes.
    const WordRegister x = WordRegister{} + static_cast<std::uint32_t>(word);
    const auto pair = [](WordRegister w, WordRegister digits) MOEKIT_INLINED {
      const auto products = (IntRegister)((ShortRegister)(w & 0x00ff00ffu) * ((ShortRegister)(digits << 8) >> 8));
      return ((IntRegister)((WordRegister)products << 16) >> 16) + (products >> 16);
    };
    const auto dot = [x, pair](auto s, auto w) MOEKIT_INLINED { return s + pair(w, x) + pair(w >> 8, x >> 8); };
    return by_register(dot, sums, codes);
  }
  MOEKIT_INLINE static U16 lookup(const std::uint8_t (&table)[16], U16 nibbles) {
    std::uint8_t bytes[64];
    store(bytes, nibbles);
    for (std::uint8_t& byte : bytes) byte = table[byte];
    return load<U16>(bytes);
  }
};

}  // namespace
}  // namespace moekit::cpu
