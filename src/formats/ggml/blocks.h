// SPDX-License-Identifier: Apache-2.0
// ggml's blocks to codes and scales: pure functions from the bytes of a row. Layouts: ggml-common.h of the ggml
// project.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>

#include "moekit/tensor.h"
#include "moekit/weight_format.h"

namespace moekit {

/// Where a row's parts go: cols codes, one a byte, those of 4 bits two a byte with the even k in the low half; cols /
/// group scales, and as many minima; cols / 256 super scales and minima. Parts that the blocks lack are null.
struct GgmlRow {
  std::uint8_t* codes = nullptr;
  float* scales = nullptr;
  float* mins = nullptr;
  float* super_scales = nullptr;
  float* super_mins = nullptr;
};

/// Decodes `blocks` blocks from `data` on.
using DecodeBlocks = void (*)(const std::byte* data, std::int64_t blocks, const GgmlRow& out) noexcept;

/// How blocks are read: the format that their codes and scales are in.
struct GgmlRule {
  Encoding encoding;
  WeightFormat format;
  DecodeBlocks decode;
};
/// The rule of an encoding; null when its blocks are not read.
const GgmlRule* ggml_rule(Encoding encoding) noexcept;
/// "Q4_0, Q4_K, ...": the blocks that are read.
std::string ggml_encodings();

/// Bytes whose low halves are kCount codes and whose high halves are the next kCount: to pairs of neighbours.
template <std::int64_t kCount>
inline void pair_nibbles(const std::byte* data, std::uint8_t* pairs) noexcept {
  for (std::int64_t i = 0; i < kCount / 2; ++i) {  // two bytes at a time as one 16 bit number
    const unsigned two = std::to_integer<unsigned>(data[2 * i]) | std::to_integer<unsigned>(data[2 * i + 1]) << 8;
    pairs[i] = static_cast<std::uint8_t>((two & 15u) | (two >> 4 & 0xf0u));
    pairs[i + kCount / 2] = static_cast<std::uint8_t>((two >> 4 & 15u) | (two >> 8 & 0xf0u));
  }
}

void decode_q4_0(const std::byte* data, std::int64_t blocks, const GgmlRow& out) noexcept;
void decode_q8_0(const std::byte* data, std::int64_t blocks, const GgmlRow& out) noexcept;
void decode_mxfp4(const std::byte* data, std::int64_t blocks, const GgmlRow& out) noexcept;
void decode_q4_k(const std::byte* data, std::int64_t blocks, const GgmlRow& out) noexcept;
void decode_q5_k(const std::byte* data, std::int64_t blocks, const GgmlRow& out) noexcept;
void decode_q6_k(const std::byte* data, std::int64_t blocks, const GgmlRow& out) noexcept;

}  // namespace moekit
