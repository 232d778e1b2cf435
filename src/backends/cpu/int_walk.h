// SPDX-License-Identifier: Apache-2.0
// What kernels for rows of integers share: the way through a panel's two streams, group by group, and what ends one.
#pragma once

#include <type_traits>

#include "backends/cpu/int_rows.h"
#include "backends/cpu/unpack_tiles.h"

namespace moekit::cpu {
namespace {

/// Twice the e2m1 values, and 12.
constexpr std::uint8_t kE2M1Codes[16] = {12, 13, 14, 15, 16, 18, 20, 24, 12, 11, 10, 9, 8, 6, 4, 0};

/// Rows of integers that meet a panel.
struct IntOperands {
  const QuantPanels& quant;
  const IntRows rows;
  const std::byte* a;  // row 0

  template <class T>
  MOEKIT_INLINE const T* row(std::int64_t r, std::int64_t at) const {
    return reinterpret_cast<const T*>(a + r * rows.bytes() + at);
  }
  /// The sums of a row over both tiles, times its scale, to the row's place in c.
  MOEKIT_INLINE void finish_row(std::int64_t r, const F16 (&total)[2], float* c) const {
    const float scale = *row<float>(r, 0);
    store(c + r * kPanelColumns, total[0] * scale);
    store(c + r * kPanelColumns + 16, total[1] * scale);
  }
};

struct IntWalk {
  const QuantPanels& quant;
  const std::byte *streams[2], *headers[2], *codes[2];  // codes: of the next k; the caller moves on
  std::int64_t in_block = 0, group_in_block = 0;        // in units of 16 k, and groups
  bool once = false;
  StreamAhead<> ahead[2];

  MOEKIT_INLINE IntWalk(const QuantPanels& panels, const std::byte* panel) : quant(panels) {
    for (int half = 0; half < 2; ++half) {
      streams[half] = panel + half * quant.half[0].bytes();
      headers[half] = streams[half] + quant.half[half].head_bytes;
      codes[half] = headers[half] + quant.half[half].header_bytes;
    }
  }
  /// For panels that are read once: what lies ahead is brought in. `following`: the panel that is read next, or null.
  MOEKIT_INLINE void read_once(const std::byte* following) {
    once = true;
    for (int half = 0; half < 2; ++half) {
      const std::byte* next = following != nullptr ? following + half * quant.half[0].bytes() : nullptr;
      ahead[half] = StreamAhead<>(streams[half], quant.half[half].bytes(), next);
      ahead[half].bring(streams[half], codes[half]);
    }
  }
  /// Groups never cross a block.
  MOEKIT_INLINE void begin_group() {
    if (in_block != quant.half[0].span * 2) return;
    for (int half = 0; half < 2; ++half) {
      headers[half] = codes[half];
      codes[half] += quant.half[half].header_bytes;
      if (once) ahead[half].bring(headers[half], codes[half]);
    }
    in_block = group_in_block = 0;
  }
  MOEKIT_INLINE void end_group(std::int64_t units) {
    in_block += units;
    ++group_in_block;
  }
  template <Read kRead>
  MOEKIT_INLINE GroupLanes lanes(int half, std::int64_t group) const {
    const TileFormat& format = quant.half[half];
    GroupLanes lanes = format.header_bytes == 0 ? head_group(format, streams[half], group)
                                                : header_group(format, streams[half], headers[half], group_in_block);
    if constexpr (kRead == Read::kE2M1) lanes.scale = lanes.scale * 0.5f;
    return lanes;
  }
};

/// total += scaled sums of a group. `sum`: of the row's integers in it.
template <Form kForm, int kDigits>
MOEKIT_INLINE void finish_group(const I16 (&sums)[kDigits], const GroupLanes& group, float sum, F16& total) {
  F16 v = to_float(sums[0]);
#pragma GCC unroll 3
  for (int d = 1; d < kDigits; ++d) v = multiply_add(v, 1.0f / 256.0f, to_float(sums[d]));
  if constexpr (kForm == Form::kShifted) v = multiply_add(group.offset, -sum, v);
  total = multiply_add(v, group.scale, total);
  if constexpr (kForm == Form::kMinimum) total = multiply_add(group.offset, -sum, total);
}

/// Calls with(read, form), both integral constants, for panels of integer codes.
template <class With>
MOEKIT_INLINE void dispatch_int(const WeightFormat& weight, const With& with) {
  const auto forms = [&](auto read) {
    if (weight.offset == Offset::kZeroPoint) return with(read, std::integral_constant<Form, Form::kShifted>());
    if (weight.offset == Offset::kMin) return with(read, std::integral_constant<Form, Form::kMinimum>());
    with(read, std::integral_constant<Form, Form::kScaled>());
  };
  if (weight.code == Code::kE2M1)
    return with(std::integral_constant<Read, Read::kE2M1>(), std::integral_constant<Form, Form::kScaled>());
  if (weight.code == Code::kInt8) return forms(std::integral_constant<Read, Read::kInt8>());
  forms(std::integral_constant<Read, Read::kUInt4>());
}

}  // namespace
}  // namespace moekit::cpu
