// SPDX-License-Identifier: Apache-2.0
// AWQ: words of eight codes along N, [K, N / 8], in an order that suits its GPU kernels; zero points likewise,
// [groups, N / 8]; scales [groups, N].
#include <algorithm>
#include <cstring>

#include "core/transpose.h"
#include "formats/packings/packing.h"

namespace moekit {
namespace {

// Nibble i of a word holds column 0 2 4 6 1 3 5 7 of its eight; the inverse of that order.
constexpr std::int64_t kNibbleOf[8] = {0, 4, 1, 5, 2, 6, 3, 7};

// Exchanges the bits of `low` above `shift` with those of `high` below, within the mask.
void exchange(Words4& low, Words4& high, int shift, std::uint32_t mask) noexcept {
  const Words4 differ = ((low >> shift) ^ high) & mask;
  high ^= differ;
  low ^= differ << shift;
}

// Eight words of a k each to eight words of a nibble each: nibble k of word i is nibble i of word k.
void transpose_nibbles(Words4 (&words)[8]) noexcept {
  for (const int i : {0, 2, 4, 6}) exchange(words[i], words[i + 1], 4, 0x0f0f0f0fu);
  for (const int i : {0, 1, 4, 5}) exchange(words[i], words[i + 2], 8, 0x00ff00ffu);
  for (const int i : {0, 1, 2, 3}) exchange(words[i], words[i + 4], 16, 0x0000ffffu);
}

// Four words of eight k each (fewer at the ends: others are 0), `stride` words a k, to four times eight n.
inline __attribute__((always_inline)) void turn_block(const std::byte* in, std::int64_t stride, std::int64_t k_count,
                                                      std::size_t bytes, std::byte* out) {
  Words4 words[8] = {}, in_order[8];
  for (std::int64_t i = 0; i < k_count; ++i) std::memcpy(&words[i], in + i * stride * 4, bytes);
  transpose_nibbles(words);
  for (int n = 0; n < 8; ++n) in_order[n] = words[kNibbleOf[n]];
  for (const int n : {0, 4}) transpose4(reinterpret_cast<const std::byte*>(in_order + n), 16, out + n * 4, 8 * 4);
}

// Words [cols, columns] with `stride` words a k, eight n each, to words [ceil(cols / 8), 8 * columns], eight k each.
void turn_words(const std::byte* in, std::int64_t stride, std::int64_t columns, std::int64_t cols, std::byte* out) {
  for (std::int64_t k = 0; k < cols; k += 8, in += 8 * stride * 4, out += columns * 8 * 4) {
    const std::int64_t count = std::min<std::int64_t>(8, cols - k), by_four = count == 8 ? columns / 4 * 4 : 0;
    for (std::int64_t column = 0; column < by_four; column += 4)  // sizes are constants: no calls in the loop
      turn_block(in + column * 4, stride, 8, 16, out + column * 8 * 4);
    for (std::int64_t column = by_four; column < columns; column += 4) {
      const auto some = static_cast<std::size_t>(std::min<std::int64_t>(4, columns - column));
      std::byte turned[4 * 8 * 4];
      turn_block(in + column * 4, stride, count, some * 4, turned);
      std::memcpy(out + column * 8 * 4, turned, some * 8 * 4);
    }
  }
}

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
  const std::int64_t begin = rows.first / 8, columns = rows.last() / 8 - begin + 1;
  scratch.words.resize(static_cast<std::size_t>((out.cols + 7) / 8 * columns * 8 * 4));
  turn_words(words + begin * 4, words_a_row, columns, out.cols, scratch.words.data());
  out.words = {scratch.words.data() + rows.first % 8 * 4, rows.step * 4, columns * 8 * 4};
}

}  // namespace moekit
