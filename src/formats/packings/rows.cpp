// SPDX-License-Identifier: Apache-2.0
// Packings whose rows are contiguous: bytes, nibbles, and compressed-tensors' words along K.
#include "core/float_convert.h"
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

void unpack_row(Packing packing, int bits, const std::byte* row, std::int64_t cols, std::uint8_t* codes) {
  switch (packing) {
    case Packing::kNibbles:
      for (std::int64_t k = 0; k < cols; ++k)
        codes[k] = static_cast<std::uint8_t>((std::to_integer<unsigned>(row[k / 2]) >> (k % 2 * 4)) & 15u);
      return;
    case Packing::kWordsAlongK: {
      const std::int64_t slots = 32 / bits;
      for (std::int64_t k = 0; k < cols; ++k)
        codes[k] = from_unsigned(word_code(row, k / slots, k % slots, bits), bits);
      return;
    }
    default: __builtin_memcpy(codes, row, static_cast<std::size_t>(cols));
  }
}

// One integer a row and group, or packed along the rows like the codes along K.
void read_zeros(const QuantTensors& tensors, const StackRows& rows, ReadScratch& scratch, QuantRows& out) {
  if (tensors.format.offset != Offset::kZeroPoint) return;
  const std::byte* data = read_one(tensors, tensors.zeros, rows.index, scratch.scale_bytes);
  const std::int64_t groups = out.groups();
  const int bits = code_bits(tensors.format.code);
  for (std::int64_t i = 0; i < rows.count; ++i) {
    const std::int64_t n = rows.first + i * rows.step;
    for (std::int64_t g = 0; g < groups; ++g) {
      float& zero = out.zeros[static_cast<std::size_t>(i * groups + g)];
      if (tensors.packing == Packing::kWordsAlongK) {
        const std::int64_t slots = 32 / bits;
        const std::int64_t word_rows = rows.index * ((tensors.rows + slots - 1) / slots) + n / slots;
        const std::uint32_t code = word_code(data, word_rows * groups + g, n % slots, bits);
        zero = zero_from_unsigned(static_cast<std::int32_t>(code), bits);
      } else {
        zero = static_cast<float>(static_cast<std::int8_t>(data[(rows.index * tensors.rows + n) * groups + g]));
      }
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
  const int bits = code_bits(tensors.format.code);
  for (std::int64_t i = 0; i < rows.count; ++i)
    unpack_row(tensors.packing, bits, data + i * rows.step * bytes, out.cols, out.codes.data() + i * out.cols);
}

}  // namespace moekit
