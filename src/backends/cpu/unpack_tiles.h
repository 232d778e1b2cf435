// SPDX-License-Identifier: Apache-2.0
// Streams of tile_format.h to plain tiles, step by step: what the multiplication kernels read. The same float32
// operations in the same order as dequantise_row, so that every ISA unpacks the same bits.
#pragma once

#include "backends/cpu/kernels.h"
#include "backends/cpu/stream_walk.h"
#include "backends/cpu/unpack_e2m1.h"
#include "backends/cpu/vec.h"

namespace moekit::cpu {
namespace {

/// How a code becomes a weight.
enum class Form : std::uint8_t { kScaled, kShifted, kMinimum };  // v s, (v - o) s, v s - o
inline Form form_of(const WeightFormat& weight) noexcept {
  if (weight.offset == Offset::kMin) return Form::kMinimum;
  return weight.offset == Offset::kZeroPoint || weight.zero != 0 ? Form::kShifted : Form::kScaled;
}

/// How codes are read. kFastE4M3: for TileFormats that are not `exact`.
/// kInt4: 4 bit codes of which 8 is subtracted, whatever the group.
enum class Read : std::uint8_t { kInt8, kE4M3, kFastE4M3, kE2M1, kInt4, kUInt4, kUInt5, kUInt6 };
inline Read read_of(const TileFormat& format) noexcept {
  switch (format.weight.code) {
    case Code::kInt8: return Read::kInt8;
    case Code::kE4M3: return format.exact ? Read::kE4M3 : Read::kFastE4M3;
    case Code::kE2M1: return Read::kE2M1;
    case Code::kUInt5: return Read::kUInt5;
    case Code::kUInt6: return Read::kUInt6;
    default: return format.weight.offset == Offset::kNone && format.weight.zero == 8 ? Read::kInt4 : Read::kUInt4;
  }
}

/// Vectors of codes that a step of a tile has.
constexpr int code_lines(Read read) noexcept {
  if (read == Read::kUInt5) return 5;
  if (read == Read::kUInt6) return 6;
  return read == Read::kE2M1 || read == Read::kInt4 || read == Read::kUInt4 ? 4 : 8;
}

/// Changes to a group's scale before its codes are read.
template <Read kRead>
MOEKIT_INLINE void prepare(GroupLanes& group) {
  if constexpr (kRead == Read::kFastE4M3) group.scale = group.scale * 0x1p120f;
}

/// Code k = 8 j + i of a step of 16 columns as float32; times 2^-120 for kFastE4M3, whose bits are float32 bits
/// shifted. Loops unroll over i, so that its shifts are constants, and not over j, which would make four times the
/// code.
template <Read kRead>
MOEKIT_INLINE F16 code_at(const std::byte* codes, int j, int i) {
  if constexpr (kRead == Read::kInt8 || kRead == Read::kE4M3 || kRead == Read::kFastE4M3) {
    // Byte i at the top of its lane by a read that begins 3 - i bytes early (scales always lie before codes): where
    // vector units are busy, the second line that it touches costs less than a shift.
    const U16 word = load<U16>(codes + (2 * j + i / 4) * kLineBytes - (3 - i % 4));
    if constexpr (kRead == Read::kInt8) return to_float((I16)word >> 24);
    if constexpr (kRead == Read::kE4M3) return from_e4m3(word >> 24);
    // The sign stays in its place and is copied below, where the mask drops it: one shift for both.
    return from_words((U16)((I16)word >> 4) & 0x87f00000u);
  }
  const U16 word = load<U16>(codes + j * kLineBytes) >> (i * 4);
  if constexpr (kRead == Read::kE2M1 || kRead == Read::kInt4 || kRead == Read::kUInt4) {
#ifdef __AVX512F__
    constexpr F16 kE2M1 = {0.0f,  0.5f,  1.0f,  1.5f,  2.0f,  3.0f,  4.0f,  6.0f,
                           -0.0f, -0.5f, -1.0f, -1.5f, -2.0f, -3.0f, -4.0f, -6.0f};
    constexpr F16 kCount = {0.0f, 1.0f, 2.0f,  3.0f,  4.0f,  5.0f,  6.0f,  7.0f,
                            8.0f, 9.0f, 10.0f, 11.0f, 12.0f, 13.0f, 14.0f, 15.0f};
    return lookup16(kRead == Read::kE2M1 ? kE2M1 : kRead == Read::kInt4 ? kCount - 8.0f : kCount, word);
#else
    if constexpr (kRead == Read::kE2M1) return from_e2m1(word & 15u);
    if constexpr (kRead == Read::kInt4) return to_float((I16)(word & 15u) - 8);
    return to_float((I16)(word & 15u));
#endif
  }
  U16 high;
  if constexpr (kRead == Read::kUInt5)
    high = (load<U16>(codes + 4 * kLineBytes) >> (8 * j + i)) & 1u;
  else
    high = (load<U16>(codes + (4 + j / 2) * kLineBytes) >> (j % 2 * 16 + i * 2)) & 3u;
  return to_float((I16)((word & 15u) | (high << 4)));
}

template <Read kRead, Form kForm>
MOEKIT_INLINE F16 weight_at(const std::byte* codes, int j, int i, const GroupLanes& group) {
  const F16 value = code_at<kRead>(codes, j, i);
  if constexpr (kForm == Form::kScaled) return value * group.scale;
  if constexpr (kForm == Form::kShifted) return (value - group.offset) * group.scale;
  // The product is exact (weight_format.h): fused or not, it rounds alike.
  return multiply_add(value, group.scale, -group.offset);
}

/// 16 weights of an even and of the following odd k to where a plain step has them.
MOEKIT_INLINE void store_pair(float* tile, int k, F16 even, F16 odd) {
  // k 0 .. 15 in the first step of 16, the others in the next.
  float* at = tile + k / 16 * (kStepBytes / 4) + k % 16 * kTileColumns;
  store(at, even);
  store(at + kTileColumns, odd);
}
MOEKIT_INLINE void store_pair(std::uint16_t* tile, int k, F16 even, F16 odd) {
  store(tile + k / 2 * 32, bf16_words(even, odd));
}

template <class To, Read kRead, Form kForm>
void unpack_step(const StepWalk& walk, To* tile) {
#ifdef __AVX512BW__
  if constexpr (kRead == Read::kE2M1 && sizeof(To) == 2) {
    const ExponentLanes scales[2] = {ExponentLanes(walk.of(0).scale), ExponentLanes(walk.of(1).scale)};
    if (scales[0].exact && scales[1].exact) return unpack_e2m1_step(walk.codes, scales, tile);
  }
#endif
  for (int j = 0; j < 4; ++j) {
    const GroupLanes& group = walk.of(j / 2);
#pragma GCC unroll 4
    for (int i = 0; i < 8; i += 2)
      store_pair(tile, 8 * j + i, weight_at<kRead, kForm>(walk.codes, j, i, group),
                 weight_at<kRead, kForm>(walk.codes, j, i + 1, group));
  }
}

/// The group of every k from a table: `groups_of` is that of the step's first k.
template <class To, Read kRead, Form kForm>
void unpack_step_by_column(const TileFormat& format, const std::byte* stream, const std::uint16_t* groups_of,
                           const std::byte* codes, To* tile) {
  const auto weight = [&](int k) {
    GroupLanes group = head_group(format, stream, groups_of[k]);
    prepare<kRead>(group);
    return weight_at<kRead, kForm>(codes, k / 8, k % 8, group);
  };
  for (int k = 0; k < 32; k += 2) store_pair(tile, k, weight(k), weight(k + 1));
}

template <class To, Read kRead, Form kForm>
void unpack_as(const UnpackArgs& args, To* tile) {
  const TileFormat& format = *args.format;
  constexpr auto kSize = static_cast<std::int64_t>(sizeof(To));
  constexpr std::int64_t kStride = kSize / 2 * kStepBytes / kSize;  // a step of bfloat16, two of float32
  StepWalk walk(format, args.stream, args.first);
  const StreamAhead<> ahead(args.stream, format.bytes(), args.following);
  for (std::int64_t s = args.first; s < args.first + args.steps; ++s, tile += kStride) {
    if (format.by_column) {
      unpack_step_by_column<To, kRead, kForm>(format, args.stream, args.columns + s * kQuantStep, walk.codes, tile);
    } else {
      walk.begin(prepare<kRead>);
      unpack_step<To, kRead, kForm>(walk, tile);
    }
    const std::byte* codes = walk.codes;
    walk.end();
    if (args.following != nullptr) ahead.bring(codes, walk.codes);
  }
}

/// Calls with.run<read, form>() for a format: the one list of what codes and forms go together.
template <class With>
MOEKIT_INLINE void dispatch_format(const TileFormat& format, const With& with) {
  const Form form = form_of(format.weight);
  switch (read_of(format)) {
    case Read::kInt8:
      return form == Form::kShifted ? with.template run<Read::kInt8, Form::kShifted>()
                                    : with.template run<Read::kInt8, Form::kScaled>();
    case Read::kE4M3: return with.template run<Read::kE4M3, Form::kScaled>();
    case Read::kFastE4M3: return with.template run<Read::kFastE4M3, Form::kScaled>();
    case Read::kE2M1: return with.template run<Read::kE2M1, Form::kScaled>();
    case Read::kInt4: return with.template run<Read::kInt4, Form::kScaled>();
    case Read::kUInt4:
      return form == Form::kShifted ? with.template run<Read::kUInt4, Form::kShifted>()
                                    : with.template run<Read::kUInt4, Form::kMinimum>();
    case Read::kUInt5: return with.template run<Read::kUInt5, Form::kMinimum>();
    case Read::kUInt6: return with.template run<Read::kUInt6, Form::kShifted>();
  }
}

template <class To>
struct Unpacker {
  const UnpackArgs& args;
  template <Read kRead, Form kForm>
  void run() const {
    unpack_as<To, kRead, kForm>(args, static_cast<To*>(args.tiles));
  }
};

/// Steps [first, first + steps) of a stream to plain tiles of To, a plain step apart.
template <class To>
void unpack_tiles(const UnpackArgs& args) noexcept {
  dispatch_format(*args.format, Unpacker<To>{args});
}

}  // namespace
}  // namespace moekit::cpu
