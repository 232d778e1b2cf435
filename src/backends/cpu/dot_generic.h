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
    using S32 = std::int16_t __attribute__((vector_size(64)));
    const U16 x = U16{} + static_cast<std::uint32_t>(word);
    const auto pair = [](U16 w, U16 digits) {
      const I16 products = (I16)((S32)(w & 0x00ff00ffu) * ((S32)(digits << 8) >> 8));
      return ((I16)((U16)products << 16) >> 16) + (products >> 16);
    };
    return sums + pair(codes, x) + pair(codes >> 8, x >> 8);
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
