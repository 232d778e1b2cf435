// SPDX-License-Identifier: Apache-2.0
// Super blocks of 256 weights. Q4_K and Q5_K: float16 scale and minimum, eight pairs of 6 bit scale and minimum in 12
// bytes, codes. Q6_K: codes, sixteen int8 scales, float16 scale.
#include <cstring>

#include "core/float_convert.h"
#include "formats/ggml/blocks.h"

namespace moekit {
namespace {

constexpr std::int64_t kSuper = 256;

std::uint8_t at(const std::byte* data, std::int64_t i) noexcept { return std::to_integer<std::uint8_t>(data[i]); }

float half_at(const std::byte* data) noexcept {
  std::uint16_t bits;
  std::memcpy(&bits, data, sizeof bits);
  return fp16_to_float(bits);
}

// Pairs 0 .. 3 have their 6 bits in bytes 0 .. 3 (scales) and 4 .. 7 (minima); pairs 4 .. 7 have their low 4 bits in
// the halves of bytes 8 .. 11 and their high 2 bits above those of the pairs before.
void split_pairs(const std::byte* data, float* scales, float* mins) noexcept {
  for (int i = 0; i < 4; ++i) {
    scales[i] = static_cast<float>(at(data, i) & 63u);
    mins[i] = static_cast<float>(at(data, i + 4) & 63u);
    scales[i + 4] = static_cast<float>((at(data, i + 8) & 15u) | (at(data, i) >> 6u) << 4u);
    mins[i + 4] = static_cast<float>(at(data, i + 8) >> 4u | (at(data, i + 4) >> 6u) << 4u);
  }
}

// 32 bytes at a time: the low halves are 32 codes, the high ones the next 32.
void split_nibbles(const std::byte* data, std::uint8_t* codes) noexcept {
  for (std::int64_t part = 0; part < 4; ++part)
    for (std::int64_t i = 0; i < 32; ++i) {
      const std::uint8_t byte = at(data, part * 32 + i);
      codes[part * 64 + i] = byte & 15u;
      codes[part * 64 + 32 + i] = byte >> 4u;
    }
}

}  // namespace

void decode_q4_k(const std::byte* data, std::int64_t blocks, const GgmlRow& out) noexcept {
  for (std::int64_t b = 0; b < blocks; ++b, data += 144) {
    out.super_scales[b] = half_at(data);
    out.super_mins[b] = half_at(data + 2);
    split_pairs(data + 4, out.scales + b * 8, out.mins + b * 8);
    for (std::int64_t part = 0; part < 4; ++part)
      pair_nibbles<32>(data + 16 + part * 32, out.codes + b * kSuper / 2 + part * 32);
  }
}

void decode_q5_k(const std::byte* data, std::int64_t blocks, const GgmlRow& out) noexcept {
  for (std::int64_t b = 0; b < blocks; ++b, data += 176) {
    out.super_scales[b] = half_at(data);
    out.super_mins[b] = half_at(data + 2);
    split_pairs(data + 4, out.scales + b * 8, out.mins + b * 8);
    std::uint8_t* codes = out.codes + b * kSuper;
    split_nibbles(data + 48, codes);
    // The fifth bit of code k is bit k / 32 of byte k % 32.
    for (std::int64_t k = 0; k < kSuper; ++k)
      codes[k] = static_cast<std::uint8_t>(codes[k] | ((at(data, 16 + k % 32) >> (k / 32)) & 1u) << 4u);
  }
}

void decode_q6_k(const std::byte* data, std::int64_t blocks, const GgmlRow& out) noexcept {
  for (std::int64_t b = 0; b < blocks; ++b, data += 210) {
    const std::byte *low = data, *high = data + 128, *scales = data + 192;
    // Of 128 codes: 64 bytes with the low four bits of codes i and i + 64, 32 bytes with the high two bits of i, i +
    // 32, i + 64 and i + 96.
    for (std::int64_t k = 0; k < kSuper; ++k) {
      const std::int64_t half = k / 128, i = k % 128;
      const unsigned four = (at(low, half * 64 + i % 64) >> (i / 64 * 4)) & 15u;
      const unsigned two = (at(high, half * 32 + i % 32) >> (i / 32 * 2)) & 3u;
      out.codes[b * kSuper + k] = static_cast<std::uint8_t>(four | two << 4u);
    }
    for (std::int64_t g = 0; g < 16; ++g)
      out.scales[b * 16 + g] = static_cast<float>(static_cast<std::int8_t>(at(scales, g)));
    out.super_scales[b] = half_at(data + 208);
  }
}

}  // namespace moekit
