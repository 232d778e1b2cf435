// SPDX-License-Identifier: Apache-2.0
// GPTQ: words of codes along K, [K / slots, N]; zero points along N, [groups, N / slots]; scales [groups, N].
#include <algorithm>
#include <cstring>

#include "formats/packings/packing.h"

namespace moekit {
namespace {

// Nibble i of the word to byte i.
std::uint64_t spread_nibbles(std::uint64_t word) noexcept {
  word = (word | word << 16) & 0x0000ffff0000ffffu;
  word = (word | word << 8) & 0x00ff00ff00ff00ffu;
  return (word | word << 4) & 0x0f0f0f0f0f0f0f0fu;
}

}  // namespace

void decode_gptq(const QuantTensors& tensors, const StackRows& rows, ReadScratch& scratch, QuantRows& out) {
  const int bits = code_bits(tensors.format.code);
  const std::int64_t slots = 32 / bits, groups = out.groups(), width = tensors.rows;
  read_transposed_scales(tensors, rows, scratch, out);
  read_column_groups(tensors, scratch, out);
  if (tensors.format.offset == Offset::kZeroPoint) {
    const std::byte* words = read_one(tensors, tensors.zeros, rows.index, scratch.scale_bytes);
    for (std::int64_t i = 0; i < rows.count; ++i) {
      const std::int64_t n = rows.first + i * rows.step;
      for (std::int64_t g = 0; g < groups; ++g) {
        const std::uint32_t code = word_code(words, g * ((width + slots - 1) / slots) + n / slots, n % slots, bits);
        out.zeros[static_cast<std::size_t>(i * groups + g)] =
            zero_from_unsigned(static_cast<std::int32_t>(code) + tensors.zero_add, bits);
      }
    }
  }
  const std::byte* words = read_one(tensors, tensors.codes, rows.index, scratch.bytes);
  // A word holds `slots` consecutive k of one n. Eight n at a time: rows of codes often lie a power of two apart, and
  // more of them than a cache has ways would push each other out.
  const std::int64_t whole = out.cols / slots;
  for (std::int64_t first = 0; first < rows.count; first += 8)
    for (std::int64_t word = 0; word < whole; ++word)
      for (std::int64_t i = first; i < std::min(first + 8, rows.count); ++i) {
        std::uint32_t value;
        std::memcpy(&value, words + (word * width + rows.first + i * rows.step) * 4, 4);
        std::uint8_t* codes = out.codes.data() + i * out.cols + word * slots;
        if (bits == 4) {
          const std::uint64_t spread = spread_nibbles(value);
          std::memcpy(codes, &spread, 8);
        } else {
          value ^= 0x80808080u;  // from_unsigned of all four
          std::memcpy(codes, &value, 4);
        }
      }
  for (std::int64_t k = whole * slots; k < out.cols; ++k)
    for (std::int64_t i = 0; i < rows.count; ++i)
      out.codes[static_cast<std::size_t>(i * out.cols + k)] =
          from_unsigned(word_code(words, whole * width + rows.first + i * rows.step, k % slots, bits), bits);
}

}  // namespace moekit
