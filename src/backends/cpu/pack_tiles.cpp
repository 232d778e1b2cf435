// SPDX-License-Identifier: Apache-2.0
#include "backends/cpu/pack_tiles.h"

#include <algorithm>
#include <cstring>

#include "backends/cpu/transpose.h"
#include "core/float_convert.h"

namespace moekit::cpu {
namespace {

// A float that is exactly a number of the dtype.
void store_scale(float value, DType dtype, std::byte* at) {
  switch (dtype) {
    case DType::kBFloat16: {
      const std::uint16_t bits = float_to_bf16(value);
      std::memcpy(at, &bits, 2);
      return;
    }
    case DType::kFloat16: {
      const std::uint16_t bits = float_to_fp16(value);
      std::memcpy(at, &bits, 2);
      return;
    }
    case DType::kFloat8E8M0: *at = static_cast<std::byte>(bits_from_float(value) >> 23); return;
    case DType::kFloat8E4M3: *at = static_cast<std::byte>(float_to_fp8_e4m3(value)); return;
    case DType::kUInt8: *at = static_cast<std::byte>(static_cast<std::uint8_t>(value)); return;
    case DType::kInt8: *at = static_cast<std::byte>(static_cast<std::int8_t>(value)); return;
    default: std::memcpy(at, &value, 4);
  }
}

struct Writer {
  const QuantRows& matrix;
  const TileFormat& format;
  std::int64_t first;  // row of the matrix in lane 0

  // values [rows, width], element `at` of each row, to 16 lanes of the dtype; absent rows are 0.
  std::byte* lanes(const std::vector<float>& values, std::int64_t width, std::int64_t at, DType dtype,
                   std::byte* out) const {
    const auto size = static_cast<std::int64_t>(dtype_size(dtype));
    for (std::int64_t c = 0; c < kTileColumns; ++c, out += size) {
      const std::int64_t row = first + c;
      const bool present = row < matrix.rows && at < width;
      store_scale(present ? values[static_cast<std::size_t>(row * width + at)] : 0.0f, dtype, out);
    }
    return out;
  }

  void head(std::byte* out) const {
    const WeightFormat& weight = format.weight;
    if (weight.row_scale != RowScale::kNone) {
      // Division by an absent row's scale must stay finite.
      for (std::int64_t c = 0; c < kTileColumns; ++c, out += 4)
        store_scale(first + c < matrix.rows ? matrix.row_scales[static_cast<std::size_t>(first + c)] : 1.0f,
                    DType::kFloat32, out);
    }
    const std::int64_t groups = format.groups;
    if (format.uniform) {
      // A tile past the last row keeps scales of zero.
      if (first < matrix.rows)
        std::memcpy(out, matrix.scales.data() + first * groups, static_cast<std::size_t>(groups) * 4);
      return;
    }
    if (weight.group != 0 && !format.by_column) return;
    for (std::int64_t g = 0; g < groups; ++g) out = lanes(matrix.scales, groups, g, DType::kFloat32, out);
    if (weight.offset == Offset::kNone) return;
    for (std::int64_t g = 0; g < groups; ++g) out = lanes(matrix.zeros, groups, g, offset_dtype(weight.offset), out);
  }

  void header(std::int64_t block, std::byte* out) const {
    const WeightFormat& weight = format.weight;
    const std::int64_t in_block = format.header_groups();
    if (weight.super != 0) {
      const std::int64_t supers = weight.supers(matrix.cols);
      out = lanes(matrix.super_scales, supers, block, DType::kFloat16, out);
      if (weight.offset == Offset::kMin) out = lanes(matrix.super_mins, supers, block, DType::kFloat16, out);
    }
    for (std::int64_t g = block * in_block; g < (block + 1) * in_block; ++g)
      out = lanes(matrix.scales, format.groups, g, weight.scale, out);
    if (weight.offset == Offset::kNone) return;
    for (std::int64_t g = block * in_block; g < (block + 1) * in_block; ++g)
      out = lanes(matrix.zeros, format.groups, g, offset_dtype(weight.offset), out);
  }

  // The code bytes of a step of the stream.
  std::byte* step(std::byte* stream, std::int64_t s) const { return stream + format.step_at(s); }

  // Rows of `step_bytes` bytes a step, transposed in words of four bytes.
  void words(const std::uint8_t* rows, std::int64_t step_bytes, std::byte* stream) const {
    const auto* bytes = reinterpret_cast<const std::byte*>(rows);
    const std::int64_t row_bytes = format.steps * step_bytes;
    for (std::int64_t s = 0; s < format.steps; ++s) {
      std::byte* out = step(stream, s);
      for (std::int64_t c = 0; c < kTileColumns; c += 4)
        for (std::int64_t at = 0; at < step_bytes; at += 16)
          transpose4(bytes + c * row_bytes + s * step_bytes + at, row_bytes, out + at / 4 * kLineBytes + c * 4,
                     kLineBytes);
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

}  // namespace

void pack_stream(const QuantRows& matrix, std::int64_t first, const TileFormat& format,
                 std::vector<std::uint8_t>& plane, std::byte* stream) {
  const Writer writer = {matrix, format, first};
  std::memset(stream, 0, static_cast<std::size_t>(format.bytes()));
  writer.head(stream);
  for (std::int64_t block = 0; format.header_bytes != 0 && block * format.span < format.steps; ++block)
    writer.header(block, stream + format.head_bytes + block * format.block_bytes());

  const int bits = code_bits(format.weight.code);
  const std::int64_t step_bytes = bits == 8 ? kQuantStep : kQuantStep / 2, row_bytes = format.steps * step_bytes;
  plane.assign(static_cast<std::size_t>(kTileColumns * row_bytes), 0);
  for (std::int64_t c = 0; c < std::min(kTileColumns, matrix.rows - first); ++c) {
    const std::uint8_t* codes = matrix.codes.data() + (first + c) * matrix.cols;
    std::uint8_t* row = plane.data() + c * row_bytes;
    if (bits == 8) {
      std::memcpy(row, codes, static_cast<std::size_t>(matrix.cols));
      continue;
    }
    for (std::int64_t i = 0; i < matrix.cols / 2; ++i)
      row[i] = static_cast<std::uint8_t>((codes[2 * i] & 15) | (codes[2 * i + 1] & 15) << 4);
    if (matrix.cols % 2 != 0) row[matrix.cols / 2] = codes[matrix.cols - 1] & 15;
  }
  writer.words(plane.data(), step_bytes, stream);
  if (bits == 5 || bits == 6) writer.high_bits(bits, stream);
}

}  // namespace moekit::cpu
