// SPDX-License-Identifier: Apache-2.0
#include <cstring>

#include "formats/quant_rows.h"

namespace moekit {

void resize_codes(QuantRows& matrix) {
  matrix.codes.resize(static_cast<std::size_t>(checked_mul(matrix.rows, matrix.cols, "quantised matrix")));
}

std::int64_t copy_words(const QuantRows& matrix, std::int64_t r, std::uint8_t* out) noexcept {
  const CodeWords& words = matrix.words;
  const int bits = code_bits(matrix.format.code);
  const std::int64_t used = (matrix.cols * bits + 7) / 8, whole = (used + 3) / 4 * 4;
  const std::byte* row = words.data + r * words.row_stride;
  if (words.word_stride == 4) {
    std::memcpy(out, row, static_cast<std::size_t>(used));
  } else {
    for (std::int64_t at = 0; at < used; at += 4, row += words.word_stride) std::memcpy(out + at, row, 4);
  }
  if (words.flip != 0)
    for (std::int64_t i = 0; i < used; ++i) out[i] ^= words.flip;
  std::memset(out + used, 0, static_cast<std::size_t>(whole - used));
  if (bits == 4 && matrix.cols % 2 != 0) out[used - 1] &= 15;
  return whole;
}

void expand_words(QuantRows& matrix) {
  resize_codes(matrix);
  const int bits = code_bits(matrix.format.code);
  std::vector<std::uint8_t> row(static_cast<std::size_t>((matrix.cols + 3) / 4 * 4));
  for (std::int64_t r = 0; r < matrix.rows; ++r) {
    std::uint8_t* codes = matrix.codes.data() + r * matrix.cols;
    copy_words(matrix, r, row.data());
    if (bits == 8) {
      std::memcpy(codes, row.data(), static_cast<std::size_t>(matrix.cols));
      continue;
    }
    for (std::int64_t i = 0; i < matrix.cols / 2; ++i) {  // two codes at a time as one 16 bit number
      const auto pair = static_cast<std::uint16_t>((row[static_cast<std::size_t>(i)] & 15) |
                                                   row[static_cast<std::size_t>(i)] >> 4 << 8);
      codes[2 * i] = static_cast<std::uint8_t>(pair);
      codes[2 * i + 1] = static_cast<std::uint8_t>(pair >> 8);
    }
    if (matrix.cols % 2 != 0) codes[matrix.cols - 1] = row[static_cast<std::size_t>(matrix.cols / 2)] & 15;
  }
  matrix.words = {};
}

}  // namespace moekit
