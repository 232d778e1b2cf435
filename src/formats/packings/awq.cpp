// SPDX-License-Identifier: Apache-2.0
// AWQ: words of eight codes along N, [K, N / 8], in an order that suits its GPU kernels; zero points likewise,
// [groups, N / 8]; scales [groups, N].
#include "formats/packings/packing.h"

namespace moekit {
namespace {

// Nibble i of a word holds column 0 2 4 6 1 3 5 7 of its eight; the inverse of that order.
constexpr std::int64_t kNibbleOf[8] = {0, 4, 1, 5, 2, 6, 3, 7};

}  // namespace

void decode_awq(const QuantTensors& tensors, const StackRows& rows, ReadScratch& scratch, QuantRows& out) {
  const std::int64_t groups = out.groups(), words_a_row = tensors.rows / 8;
  read_transposed_scales(tensors, rows, scratch, out);
  if (tensors.format.offset == Offset::kZeroPoint) {
    const std::byte* words = read_one(tensors, tensors.zeros, rows.index, scratch.scale_bytes);
    for (std::int64_t i = 0; i < rows.count; ++i) {
      const std::int64_t n = rows.first + i * rows.step;
      for (std::int64_t g = 0; g < groups; ++g)
        out.zeros[static_cast<std::size_t>(i * groups + g)] =
            static_cast<float>(word_code(words, g * words_a_row + n / 8, kNibbleOf[n % 8], 4));
    }
  }
  const std::byte* words = read_one(tensors, tensors.codes, rows.index, scratch.bytes);
  for (std::int64_t k = 0; k < out.cols; ++k)
    for (std::int64_t i = 0; i < rows.count; ++i) {
      const std::int64_t n = rows.first + i * rows.step;
      out.codes[static_cast<std::size_t>(i * out.cols + k)] =
          static_cast<std::uint8_t>(word_code(words, k * words_a_row + n / 8, kNibbleOf[n % 8], 4));
    }
}

}  // namespace moekit
