// SPDX-License-Identifier: Apache-2.0
#include "backends/cuda/pack_quant.h"

#include <cstring>

#include "backends/cuda/pack.h"

namespace moekit::cuda {
namespace {

constexpr std::int64_t kHalf = 16;
constexpr std::uint8_t kInt8Bias = 128;  // int8 is held as code + 128

bool nibbles(CodeKind kind) noexcept { return kind == CodeKind::kUInt4 || kind == CodeKind::kE2M1; }

// Columns of which a lane holds 16 bytes, and how many such runs a row has.
std::int64_t run_columns(const QuantLayout& layout) noexcept { return (nibbles(layout.kind) ? 2 : 1) * kStepColumns; }
std::int64_t runs(const QuantLayout& layout) noexcept {
  return (layout.cols + run_columns(layout) - 1) / run_columns(layout);
}

// First byte of the lane's share of the half that holds element (r, c).
std::int64_t lane_bytes(const QuantLayout& layout, std::int64_t r, std::int64_t c) noexcept {
  const std::int64_t run = r / kTileRows * runs(layout) + c / run_columns(layout);
  const std::int64_t lane = r % 8 * 4 + c % kHalf / 4, half = c % run_columns(layout) / kHalf;
  return (run * 32 + lane) * 16 + half * (nibbles(layout.kind) ? 4 : 8);
}

// Where the nibble of (r, c) is in its lane's word of 32 bits.
int nibble_shift(std::int64_t r, std::int64_t c) noexcept {
  return static_cast<int>(4 * (r % kTileRows / 8 + c % 4 / 2 * 2) + 16 * (c % 2));
}

void store_code(const QuantLayout& layout, std::byte* codes, std::int64_t r, std::int64_t c,
                std::uint8_t code) noexcept {
  std::byte* const at = codes + lane_bytes(layout, r, c);
  if (!nibbles(layout.kind)) {
    at[r % kTileRows / 8 * 4 + c % 4] =
        std::byte{layout.format.code == Code::kInt8 ? static_cast<std::uint8_t>(code ^ kInt8Bias) : code};
    return;
  }
  std::uint32_t word = 0;
  std::memcpy(&word, at, sizeof word);
  word |= static_cast<std::uint32_t>(code & 15u) << nibble_shift(r, c);
  std::memcpy(at, &word, sizeof word);
}

std::uint8_t load_code(const QuantLayout& layout, const std::byte* codes, std::int64_t r, std::int64_t c) noexcept {
  const std::byte* const at = codes + lane_bytes(layout, r, c);
  if (!nibbles(layout.kind)) {
    const auto code = static_cast<std::uint8_t>(at[r % kTileRows / 8 * 4 + c % 4]);
    return layout.format.code == Code::kInt8 ? static_cast<std::uint8_t>(code ^ kInt8Bias) : code;
  }
  std::uint32_t word = 0;
  std::memcpy(&word, at, sizeof word);
  return static_cast<std::uint8_t>(word >> nibble_shift(r, c) & 15u);
}

// What the stored code of a zero has beside the format's own value.
float bias_of(const QuantLayout& layout) noexcept { return layout.format.code == Code::kInt8 ? kInt8Bias : 0.0f; }

}  // namespace

CodeKind code_kind(Code code) noexcept {
  switch (code) {
    case Code::kUInt4: return CodeKind::kUInt4;
    case Code::kE2M1: return CodeKind::kE2M1;
    case Code::kE4M3: return CodeKind::kE4M3;
    case Code::kInt8:
    case Code::kUInt5:
    case Code::kUInt6:
    case Code::kFloat32:
    case Code::kBFloat16:
    case Code::kFloat16: break;
  }
  return CodeKind::kUInt8;
}

QuantLayout::QuantLayout(const WeightFormat& of, std::int64_t row_count, std::int64_t col_count)
    : format(of), kind(code_kind(of.code)), rows(row_count), cols(col_count) {
  const std::int64_t halves = padded(cols) / kHalf;
  group_halves = format.group == 0 ? halves : format.group / kHalf;
  groups = (halves + group_halves - 1) / group_halves;
  has_zeros = format.offset != Offset::kNone;
  constant_zero = static_cast<float>(format.zero) + bias_of(*this);
}

std::size_t QuantLayout::code_bytes() const noexcept {
  return static_cast<std::size_t>(padded(rows) / kTileRows * runs(*this) * 32 * 16);
}

std::int64_t QuantLayout::scale_count() const noexcept { return groups * padded(rows); }

void pack_quant(const QuantLayout& layout, const QuantRows& matrix, const std::int32_t* order, std::byte* codes,
                float* scales, float* zeros) {
  const float bias = layout.format.offset == Offset::kMin ? 0.0f : bias_of(layout);
  for (std::int64_t r = 0; r < layout.rows; ++r) {
    for (std::int64_t c = 0; c < layout.cols; ++c) {
      const std::int64_t from = order != nullptr ? order[c] : c;
      if (from >= 0) store_code(layout, codes, r, c, matrix.codes[static_cast<std::size_t>(r * matrix.cols + from)]);
    }
    for (std::int64_t g = 0; g < matrix.groups(); ++g) {
      const GroupScale group = group_scale(matrix, r, g);
      scales[g * padded(layout.rows) + r] = group.scale;
      if (layout.has_zeros) zeros[g * padded(layout.rows) + r] = group.offset + bias;
    }
  }
}

void unpack_quant_row(const QuantLayout& layout, const std::byte* codes, const float* scales, const float* zeros,
                      std::int64_t r, float* out) {
  const float bias = layout.format.offset == Offset::kMin ? 0.0f : bias_of(layout);
  for (std::int64_t c = 0; c < layout.cols; ++c) {
    const std::int64_t at = c / kHalf / layout.group_halves * padded(layout.rows) + r;
    const float value = code_value(layout.format.code, load_code(layout, codes, r, c));
    const float offset = (layout.has_zeros ? zeros[at] : layout.constant_zero) - bias;
    out[c] = layout.format.offset == Offset::kMin ? value * scales[at] - offset : (value - offset) * scales[at];
  }
}

}  // namespace moekit::cuda
