// SPDX-License-Identifier: Apache-2.0
// Blocks of 32 weights with one scale: Q4_0 (float16, then 16 bytes of nibbles), Q8_0 (float16, then 32 int8) and MXFP4
// (e8m0, then 16 bytes of nibbles). Nibble order: the low halves are weights 0 .. 15, the high ones 16 .. 31.
#include <cstring>

#include "core/float_convert.h"
#include "formats/ggml/blocks.h"

namespace moekit {
namespace {

constexpr std::int64_t kBlock = 32;

float half_at(const std::byte* at) noexcept {
  std::uint16_t bits;
  std::memcpy(&bits, at, sizeof bits);
  return fp16_to_float(bits);
}

}  // namespace

void decode_q4_0(const std::byte* data, std::int64_t blocks, const GgmlRow& out) noexcept {
  for (std::int64_t b = 0; b < blocks; ++b, data += 18) {
    out.scales[b] = half_at(data);
    pair_nibbles<kBlock / 2>(data + 2, out.codes + b * kBlock / 2);
  }
}

void decode_q8_0(const std::byte* data, std::int64_t blocks, const GgmlRow& out) noexcept {
  for (std::int64_t b = 0; b < blocks; ++b, data += 34) {
    out.scales[b] = half_at(data);
    std::memcpy(out.codes + b * kBlock, data + 2, static_cast<std::size_t>(kBlock));
  }
}

void decode_mxfp4(const std::byte* data, std::int64_t blocks, const GgmlRow& out) noexcept {
  for (std::int64_t b = 0; b < blocks; ++b, data += 17) {
    out.scales[b] = fp8_e8m0_to_float(std::to_integer<std::uint8_t>(data[0]));
    std::uint8_t* codes = out.codes + b * kBlock / 2;
    pair_nibbles<kBlock / 2>(data + 1, codes);
    // ggml's table of values is of integers: it has no negative zero, which e2m1 writes as 8.
    for (std::int64_t i = 0; i < kBlock / 2; ++i) {
      const unsigned pair = codes[i], numbers = (pair | pair >> 1 | pair >> 2) & 0x11u;
      codes[i] = static_cast<std::uint8_t>(pair & (0x77u | numbers << 3));
    }
  }
}

}  // namespace moekit
