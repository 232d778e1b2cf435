// SPDX-License-Identifier: Apache-2.0
// GPTQ: words of codes along K, [K / slots, N]; zero points along N, [groups, N / slots]; scales [groups, N].
#include "formats/packings/packing.h"

namespace moekit {

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
  // A word holds consecutive k of one n. Unsigned codes of 8 bits become two's complement ones.
  out.words = {words + rows.first * 4, rows.step * 4, width * 4, static_cast<std::uint8_t>(bits == 8 ? 0x80 : 0)};
}

}  // namespace moekit
