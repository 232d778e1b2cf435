// SPDX-License-Identifier: Apache-2.0
// bf16z: bfloat16 panels at 12 bits a weight, without loss. Exponents of trained weights lie close together: a weight
// is its sign and mantissa (8 bits) and a 4 bit code of its exponent, code c for base - c of its tile, and 15 for
// exponent 0 (zeros and subnormal numbers). What has another exponent is an exception: its place and its 16 bits,
// patched in.
//
//   heads   of both tiles of a step (halves) in turn: 4 bytes a step, then the exceptions in the order of the steps
//   tiles   step by step, 768 bytes each: four times {64 bytes of codes, twice 64 bytes of signs and mantissas}
//
// Vector g = 0 .. 7 of signs and mantissas holds the pairs of k 2 g and 2 g + 1 of 16 columns. In its lane l of 16
// bytes are the 16-bit words 8 l .. 8 l + 7 of the first pair's line of a plain tile, then those of the second's: one
// interleaving of bytes within lanes makes both lines, on any vector width. Codes of an even g are the low nibbles of
// vector g / 2, those of the following g the high ones.
#pragma once

#include <cstddef>
#include <cstdint>

#include "backends/cpu/layout.h"

namespace moekit::cpu {

constexpr std::int64_t kBf16zTileBytes = 768;
constexpr std::int64_t kMaxBf16zExceptions = 65535;  // of a half: what Bf16zHead::end holds

/// What stands for a step of one half.
struct Bf16zHead {
  std::uint8_t base = 0, unused = 0;
  std::uint16_t end = 0;  // exceptions of the half up to this step
};
struct Bf16zException {
  std::uint16_t at = 0, bits = 0;  // at: 16-bit word of the plain tile, 0 .. 511
};

struct Bf16zFormat {
  std::int64_t steps = 0;       // of 32 k
  std::int64_t exceptions = 0;  // that a half has room for, at most kMaxBf16zExceptions

  std::int64_t exceptions_at() const noexcept {
    return round_up(steps * static_cast<std::int64_t>(sizeof(Bf16zHead)), kLineBytes);
  }
  std::int64_t half_bytes() const noexcept {
    return exceptions_at() + round_up(exceptions * static_cast<std::int64_t>(sizeof(Bf16zException)), kLineBytes);
  }
  std::int64_t tiles_at() const noexcept { return 2 * half_bytes(); }
  std::int64_t bytes() const noexcept { return tiles_at() + steps * 2 * kBf16zTileBytes; }
};

/// Plain tiles of a half, kStepBytes apart, into a panel. Returns the exceptions that they have: more than there is
/// room for, and what was written is not to be used.
std::int64_t pack_bf16z(const Bf16zFormat& format, const std::byte* tiles, int half, std::byte* panel);

/// Tiles of a half back to plain ones, kStepBytes apart. Bytes that are not from pack_bf16z give some weights or other;
/// nothing beyond the panel is read.
void unpack_bf16z(const Bf16zFormat& format, const std::byte* panel, int half, std::byte* tiles);

}  // namespace moekit::cpu
