// SPDX-License-Identifier: Apache-2.0
// Streams of tile_format.h to plain tiles, step by step: what the multiplication kernels read. The same float32
// operations in the same order as dequantise_row, so that every ISA unpacks the same bits.
#pragma once

#include "backends/cpu/kernels.h"
#include "backends/cpu/scales.h"
#include "backends/cpu/vec.h"

namespace moekit::cpu {
namespace {

/// How a code becomes a weight.
enum class Form : std::uint8_t { kScaled, kShifted, kMinimum };  // v s, (v - o) s, v s - o

/// Code k of a step (k < 32) of 16 columns as float32.
template <Code kCode>
MOEKIT_INLINE F16 code_at(const std::byte* codes, int k) {
  if constexpr (kCode == Code::kInt8) {
    const U16 word = load<U16>(codes + k / 4 * kLineBytes);
    return __builtin_convertvector((I16)(word << (24 - k % 4 * 8)) >> 24, F16);
  } else if constexpr (kCode == Code::kE4M3) {
    return from_e4m3((load<U16>(codes + k / 4 * kLineBytes) >> (k % 4 * 8)) & 0xffu);
  } else {
    U16 code = (load<U16>(codes + k / 8 * kLineBytes) >> (k % 8 * 4)) & 15u;
    if constexpr (kCode == Code::kE2M1) return from_e2m1(code);
    if constexpr (kCode == Code::kUInt5) code |= ((load<U16>(codes + 4 * kLineBytes) >> k) & 1u) << 4;
    if constexpr (kCode == Code::kUInt6)
      code |= ((load<U16>(codes + (4 + k / 16) * kLineBytes) >> (k % 16 * 2)) & 3u) << 4;
    return __builtin_convertvector((I16)code, F16);
  }
}

template <Code kCode, Form kForm>
MOEKIT_INLINE F16 weight_at(const std::byte* codes, int k, const GroupLanes& group) {
  const F16 value = code_at<kCode>(codes, k);
  if constexpr (kForm == Form::kScaled) return value * group.scale;
  if constexpr (kForm == Form::kShifted) return (value - group.offset) * group.scale;
  // The product is exact (weight_format.h), so that a fused subtraction rounds alike.
  return value * group.scale - group.offset;
}

/// 16 weights of an even and of the following odd k to where a plain step has them.
MOEKIT_INLINE void store_pair(float* tile, int k, F16 even, F16 odd) {
  // k 0 .. 15 in the first step of 16, the others in the next.
  float* at = tile + k / 16 * (kStepBytes / 4) + k % 16 * kTileColumns;
  store(at, even);
  store(at + kTileColumns, odd);
}
MOEKIT_INLINE void store_pair(std::uint16_t* tile, int k, F16 even, F16 odd) {
  const U16 low = bf16_bits(even) >> 16, high = bf16_bits(odd) & 0xffff0000u;
  store(tile + k / 2 * 32, low | high);
}

template <class To, Code kCode, Form kForm>
void unpack_step(const std::byte* codes, const GroupLanes (&groups)[2], To* tile) {
#pragma GCC unroll 32
  for (int k = 0; k < 32; k += 2)
    store_pair(tile, k, weight_at<kCode, kForm>(codes, k, groups[k / 16]),
               weight_at<kCode, kForm>(codes, k + 1, groups[k / 16]));
}

/// The group of every k from a table: `groups_of` is that of the step's first k.
template <class To, Code kCode, Form kForm>
void unpack_step_by_column(const TileFormat& format, const std::byte* stream, const std::uint16_t* groups_of,
                           const std::byte* codes, To* tile) {
  for (int k = 0; k < 32; k += 2)
    store_pair(tile, k, weight_at<kCode, kForm>(codes, k, head_group(format, stream, groups_of[k])),
               weight_at<kCode, kForm>(codes, k + 1, head_group(format, stream, groups_of[k + 1])));
}

template <class To, Code kCode, Form kForm>
void unpack_as(const UnpackArgs& args, To* tile) {
  const TileFormat& format = *args.format;
  constexpr std::int64_t kTiles = 32 / (64 / static_cast<std::int64_t>(sizeof(To)));  // plain steps of 32 k
  std::int64_t block = args.first / format.span, in_block = args.first % format.span;
  for (std::int64_t s = args.first; s < args.first + args.steps;
       ++s, tile += kTiles * kStepBytes / static_cast<std::int64_t>(sizeof(To))) {
    const std::byte* header = args.stream + format.head_bytes + block * format.block_bytes();
    const std::byte* codes = header + format.header_bytes + in_block * format.code_bytes;
    if (format.by_column) {
      unpack_step_by_column<To, kCode, kForm>(format, args.stream, args.columns + s * kQuantStep, codes, tile);
    } else {
      GroupLanes groups[2];
      step_groups(format, args.stream, header, s, in_block, groups);
      unpack_step<To, kCode, kForm>(codes, groups, tile);
    }
    if (++in_block == format.span) ++block, in_block = 0;
  }
}

template <class To, Code kCode>
void unpack_code(const UnpackArgs& args, To* tile) {
  const WeightFormat& weight = args.format->weight;
  if (weight.offset == Offset::kMin) return unpack_as<To, kCode, Form::kMinimum>(args, tile);
  if (weight.offset == Offset::kZeroPoint || weight.zero != 0) return unpack_as<To, kCode, Form::kShifted>(args, tile);
  unpack_as<To, kCode, Form::kScaled>(args, tile);
}

/// Steps [first, first + steps) of a stream to plain tiles of To, a plain step apart.
template <class To>
void unpack_tiles(const UnpackArgs& args) noexcept {
  To* tile = static_cast<To*>(args.tiles);
  switch (args.format->weight.code) {
    case Code::kInt8: return unpack_code<To, Code::kInt8>(args, tile);
    case Code::kE4M3: return unpack_as<To, Code::kE4M3, Form::kScaled>(args, tile);
    case Code::kE2M1: return unpack_as<To, Code::kE2M1, Form::kScaled>(args, tile);
    case Code::kUInt4: return unpack_code<To, Code::kUInt4>(args, tile);
    case Code::kUInt5: return unpack_code<To, Code::kUInt5>(args, tile);
    case Code::kUInt6: return unpack_code<To, Code::kUInt6>(args, tile);
    case Code::kFloat32:
    case Code::kBFloat16: return;
  }
}

}  // namespace
}  // namespace moekit::cpu
