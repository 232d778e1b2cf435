// SPDX-License-Identifier: Apache-2.0
#include "backends/cpu/pack_tiles.h"

#include <algorithm>
#include <cstring>

#include "backends/cpu/pack_lanes.h"
#include "core/transpose.h"

namespace moekit::cpu {
namespace {

struct Writer {
  const QuantRows& matrix;
  const TileFormat& format;
  std::int64_t first;  // row of the matrix in lane 0
  StreamScratch& scratch;

  // Values [rows, width] of the tile's rows to lanes of the dtype; those of whole rows have a width of 1.
  void turn(const std::vector<float>& values, std::int64_t width, DType dtype, std::vector<std::byte>& out) const {
    pack_lanes(values, matrix.rows, width, first, dtype, scratch.turned, out);
  }
  static std::byte* put(const std::byte* from, std::int64_t bytes, std::byte* out) {
    std::memcpy(out, from, static_cast<std::size_t>(bytes));
    return out + bytes;
  }

  void turn_scales() const {
    const WeightFormat& weight = format.weight;
    const bool in_head = format.header_bytes == 0;
    if (!format.uniform) turn(matrix.scales, format.groups, in_head ? DType::kFloat32 : weight.scale, scratch.scales);
    if (weight.offset != Offset::kNone) turn(matrix.zeros, format.groups, offset_dtype(weight.offset), scratch.zeros);
    if (weight.super == 0) return;
    const std::int64_t supers = weight.supers(matrix.cols);
    turn(matrix.super_scales, supers, DType::kFloat16, scratch.super_scales);
    if (weight.offset == Offset::kMin) turn(matrix.super_mins, supers, DType::kFloat16, scratch.super_mins);
  }

  void head(std::byte* out) const {
    const WeightFormat& weight = format.weight;
    if (weight.row_scale != RowScale::kNone) {
      // Division by an absent row's scale must stay finite.
      float scales[kTileColumns];
      for (std::int64_t c = 0; c < kTileColumns; ++c)
        scales[c] = first + c < matrix.rows ? matrix.row_scales[static_cast<std::size_t>(first + c)] : 1.0f;
      out = put(reinterpret_cast<const std::byte*>(scales), sizeof scales, out);
    }
    if (format.uniform) {
      // A tile past the last row keeps scales of zero.
      if (first < matrix.rows)
        std::memcpy(out, matrix.scales.data() + first * format.groups, static_cast<std::size_t>(format.groups) * 4);
      return;
    }
    if (weight.group != 0 && !format.by_column) return;
    out = put(scratch.scales.data(), static_cast<std::int64_t>(scratch.scales.size()), out);
    if (weight.offset != Offset::kNone) put(scratch.zeros.data(), static_cast<std::int64_t>(scratch.zeros.size()), out);
  }

  // Lanes of `bytes` bytes: those of items [block * count, (block + 1) * count), as far as there are any.
  static void put_block(const std::vector<std::byte>& lanes, std::int64_t bytes, std::int64_t block, std::int64_t count,
                        std::byte* out) {
    const std::int64_t at = block * count * bytes;
    put(lanes.data() + at, std::min(count * bytes, static_cast<std::int64_t>(lanes.size()) - at), out);
  }

  void header(std::int64_t block, std::byte* out) const {
    const WeightFormat& weight = format.weight;
    const std::int64_t in_block = format.header_groups(), half = kTileColumns * 2;
    if (weight.super != 0) {
      put_block(scratch.super_scales, half, block, 1, out);
      if (weight.offset == Offset::kMin) put_block(scratch.super_mins, half, block, 1, out + half);
    }
    put_block(scratch.scales, format.scale_bytes, block, in_block, out + format.scales_at);
    if (weight.offset == Offset::kNone) return;
    const auto size = static_cast<std::int64_t>(dtype_size(offset_dtype(weight.offset)));
    put_block(scratch.zeros, kTileColumns * size, block, in_block, out + format.offsets_at);
  }

  // The code bytes of a step of the stream.
  std::byte* step(std::byte* stream, std::int64_t s) const { return stream + format.step_at(s); }

  // Rows of `step_bytes` bytes a step, transposed in words of four bytes.
  void words(const std::byte* rows, std::int64_t row_stride, std::int64_t step_bytes, std::byte* stream) const {
    for (std::int64_t s = 0; s < format.steps; ++s) {
      std::byte* out = step(stream, s);
      for (std::int64_t c = 0; c < kTileColumns; c += 4)
        for (std::int64_t at = 0; at < step_bytes; at += 16)
          transpose4(rows + c * row_stride + s * step_bytes + at, row_stride, out + at / 4 * kLineBytes + c * 4,
                     kLineBytes);
    }
  }

  // Words of 16 rows beside each other, as a vector of the stream has them.
  void lines(const CodeWords& from, std::int64_t step_bytes, std::byte* stream) const {
    const std::uint64_t flip = from.flip * 0x0101010101010101u;
    const std::byte* line = from.data + first * 4;
    for (std::int64_t s = 0; s < format.steps; ++s) {
      std::byte* out = step(stream, s);
      for (std::int64_t at = 0; at < step_bytes; at += 4, line += from.word_stride, out += kLineBytes) {
        std::uint64_t values[kLineBytes / 8];
        std::memcpy(values, line, sizeof values);
        for (std::uint64_t& value : values) value ^= flip;
        std::memcpy(out, values, sizeof values);
      }
    }
  }

  // Bits 4 .. bits - 1 of every code behind the nibbles: `bits - 4` bits a code.
  void high_bits(int bits, std::byte* stream) const {
    const int width = bits - 4;
    const std::int64_t per_word = 32 / width;
    for (std::int64_t s = 0; s < format.steps; ++s)
      for (std::int64_t c = 0; c < kTileColumns && first + c < matrix.rows; ++c) {
        const std::uint8_t* codes = matrix.codes.data() + (first + c) * matrix.cols;
        for (std::int64_t w = 0; w < width; ++w) {
          std::uint32_t word = 0;
          for (std::int64_t i = 0; i < per_word; ++i) {
            const std::int64_t k = s * kQuantStep + w * per_word + i;
            if (k < matrix.cols) word |= static_cast<std::uint32_t>(codes[k] >> 4) << (i * width);
          }
          std::memcpy(step(stream, s) + 4 * kLineBytes + w * kLineBytes + c * 4, &word, 4);
        }
      }
  }
};

// Bytes, or the low four bits of pairs of codes: two codes at a time as one 16 bit number. Returns the bytes.
std::int64_t plane_row(const std::uint8_t* codes, std::int64_t cols, int bits, std::uint8_t* row) {
  if (bits == 8) {
    std::memcpy(row, codes, static_cast<std::size_t>(cols));
    return cols;
  }
  for (std::int64_t i = 0; i < cols / 2; ++i) {
    const auto pair = static_cast<std::uint16_t>(codes[2 * i] | codes[2 * i + 1] << 8);
    row[i] = static_cast<std::uint8_t>((pair & 15) | (pair >> 4 & 0xf0));
  }
  if (cols % 2 != 0) row[cols / 2] = codes[cols - 1] & 15;
  return (cols + 1) / 2;
}

}  // namespace

void pack_stream(const QuantRows& matrix, std::int64_t first, const TileFormat& format, StreamScratch& scratch,
                 std::byte* stream) {
  const Writer writer = {matrix, format, first, scratch};
  writer.turn_scales();
  writer.head(stream);
  for (std::int64_t block = 0; format.header_bytes != 0 && block * format.span < format.steps; ++block)
    writer.header(block, stream + format.head_bytes + block * format.block_bytes());

  const int bits = code_bits(format.weight.code);
  const std::int64_t step_bytes = bits == 8 ? kQuantStep : kQuantStep / 2, row_bytes = format.steps * step_bytes;
  const bool whole = matrix.cols == format.steps * kQuantStep && first + kTileColumns <= matrix.rows;
  const CodeWords& words = matrix.words;
  if (whole && words && words.row_stride == 4) return writer.lines(words, step_bytes, stream);
  if (whole && words && words.word_stride == 4 && words.flip == 0)
    return writer.words(words.data + first * words.row_stride, words.row_stride, step_bytes, stream);
  std::vector<std::uint8_t>& plane = scratch.plane;
  plane.resize(static_cast<std::size_t>(kTileColumns * row_bytes));
  for (std::int64_t c = 0; c < kTileColumns; ++c) {
    std::uint8_t* row = plane.data() + c * row_bytes;
    std::int64_t used = 0;
    if (first + c < matrix.rows)
      used = words ? copy_words(matrix, first + c, row)
                   : plane_row(matrix.codes.data() + (first + c) * matrix.cols, matrix.cols, bits, row);
    std::memset(row + used, 0, static_cast<std::size_t>(row_bytes - used));
  }
  writer.words(reinterpret_cast<const std::byte*>(plane.data()), row_bytes, step_bytes, stream);
  if (bits == 5 || bits == 6) writer.high_bits(bits, stream);
}

}  // namespace moekit::cpu
