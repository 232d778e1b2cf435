// SPDX-License-Identifier: Apache-2.0
// AWQ: words of eight codes along N, [K, N / 8], in an order that suits its GPU kernels; zero points likewise,
// [groups, N / 8]; scales [groups, N].
#include <algorithm>
#include <cstring>

#include "formats/packings/packing.h"

namespace moekit {
namespace {

constexpr std::int64_t kRun = 16;  // k at a time: a vector of codes
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
  // Sixteen k of a word column at a time: its words are gathered once for the eight rows in them.
  const std::int64_t last = rows.last();
  for (std::int64_t column = rows.first / 8; column <= last / 8; ++column) {
    std::uint8_t* target[8] = {};  // of the nibbles from the lowest on, where their rows are asked for
    for (std::int64_t j = 0; j < 8; ++j) {
      const std::int64_t n = column * 8 + j - rows.first;
      if (n >= 0 && n % rows.step == 0 && column * 8 + j <= last)
        target[kNibbleOf[j]] = out.codes.data() + n / rows.step * out.cols;
    }
    for (std::int64_t k = 0; k < out.cols; k += kRun) {
      const std::int64_t run = std::min(kRun, out.cols - k);
      std::uint32_t values[kRun] = {};
      for (std::int64_t i = 0; i < run; ++i) std::memcpy(&values[i], words + ((k + i) * words_a_row + column) * 4, 4);
      for (std::uint8_t* row : target) {
        std::uint8_t codes[kRun];
        for (std::int64_t i = 0; i < kRun; ++i) {
          codes[i] = static_cast<std::uint8_t>(values[i] & 15u);
          values[i] >>= 4;
        }
        if (row != nullptr) std::memcpy(row + k, codes, static_cast<std::size_t>(run));
      }
    }
  }
}

}  // namespace moekit
