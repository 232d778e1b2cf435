// SPDX-License-Identifier: Apache-2.0
// Packings whose rows are contiguous: bytes, nibbles, and compressed-tensors' words along K.
#include "formats/packings/packing.h"

namespace moekit {
namespace {

std::int64_t row_bytes(const QuantTensors& tensors) {
  const int bits = code_bits(tensors.format.code);
  switch (tensors.packing) {
    case Packing::kNibbles: return (tensors.cols + 1) / 2;
    case Packing::kWordsAlongK: return (tensors.cols * bits + 31) / 32 * 4;
    default: return tensors.cols;
  }
}

// One integer a row and group, or packed along the rows like the codes along K.
void read_zeros(const QuantTensors& tensors, const StackRows& rows, ReadScratch& scratch, QuantRows& out) {
  if (tensors.format.offset != Offset::kZeroPoint) return;
  const std::int64_t groups = out.groups();
  const int bits = code_bits(tensors.format.code);
  const bool words = tensors.packing == Packing::kWordsAlongK;
  // Only the rows that are asked for; a row of words has those of `share` rows.
  const std::int64_t share = words ? 32 / bits : 1, row_size = groups * (words ? 4 : 1), begin = rows.first / share;
  const std::int64_t top = rows.index * ((tensors.rows + share - 1) / share) + begin;
  const std::byte* data = tensors.zeros.storage->read(
      tensors.zeros.offset + static_cast<std::size_t>(top * row_size),
      static_cast<std::size_t>((rows.last() / share - begin + 1) * row_size), scratch.scale_bytes);
  for (std::int64_t i = 0; i < rows.count; ++i) {
    const std::int64_t n = rows.first + i * rows.step, row = (n / share - begin) * groups;
    for (std::int64_t g = 0; g < groups; ++g) {
      float& zero = out.zeros[static_cast<std::size_t>(i * groups + g)];
      if (words)
        zero = zero_from_unsigned(static_cast<std::int32_t>(word_code(data, row + g, n % share, bits)), bits);
      else
        zero = static_cast<float>(static_cast<std::int8_t>(data[row + g]));
    }
  }
}

}  // namespace

void decode_rows(const QuantTensors& tensors, const StackRows& rows, ReadScratch& scratch, QuantRows& out) {
  read_scales(tensors, rows, scratch, out);
  read_row_scale(tensors, rows, scratch, out);
  read_zeros(tensors, rows, scratch, out);
  read_column_groups(tensors, scratch, out);
  const std::int64_t bytes = row_bytes(tensors), first = rows.index * tensors.rows + rows.first;
  const std::byte* data =
      tensors.codes.storage->read(tensors.codes.offset + static_cast<std::size_t>(first * bytes),
                                  static_cast<std::size_t>((rows.last() - rows.first + 1) * bytes), scratch.bytes);
  // Little-endian words with the lowest bits first are bytes with the low half first: all three packings are one.
  // Unsigned codes of 8 bits in words become two's complement ones.
  const bool unsigned_bytes = tensors.packing == Packing::kWordsAlongK && code_bits(tensors.format.code) == 8;
  out.words = {data, rows.step * bytes, 4, static_cast<std::uint8_t>(unsigned_bytes ? 0x80 : 0)};
}

}  // namespace moekit
