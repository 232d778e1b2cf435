// SPDX-License-Identifier: Apache-2.0
// Quantised panels. A panel is two streams, one for each tile of 16 columns; a stream is
//
//   head    once: what holds for all k (scales of whole rows, tensor scales, scales that the columns share)
//   blocks  of `span` steps of 32 k: the scales (and zero points or minima) of the block, then its codes
//
// so that everything a step needs lies beside it. Codes of a step are planes of 32-bit words, word lane = column:
//   4 bit     4 vectors, nibble i of a lane of vector j is k = 8 j + i         (also the low bits of 5 and 6 bit codes)
//   8 bit     8 vectors, byte i of a lane of vector j is k = 4 j + i
//   fifth bit 1 vector, bit k;   fifth and sixth: 2 vectors, bit pair i of vector j is k = 16 j + i
// Every k then is a shift and a mask of whole vectors on any ISA.
#pragma once

#include <cstdint>

#include "backends/cpu/layout.h"
#include "moekit/weight_format.h"

namespace moekit::cpu {

constexpr std::int64_t kQuantStep = 32;  // k of a step

struct TileFormat {
  WeightFormat weight;
  bool uniform = false;  // the 16 columns share their scales, which are float32 in the head
  bool exact = true;  // of E4M3: there are NaN codes, or scales of 64 and more, so that codes are read one way for all
  bool by_column = false;  // the group of each k comes from a table; all groups' scales are in the head
  std::int64_t groups = 0;
  std::int64_t steps = 0;                                         // of 32 k in the stream
  std::int64_t span = 0;                                          // steps of a block
  std::int64_t head_bytes = 0, header_bytes = 0, code_bytes = 0;  // code_bytes: of a step
  // In the header: super scales and minima first, then 16 scales a group, then 16 offsets a group.
  std::int64_t scale_bytes = 0, scales_at = 0, offsets_at = 0;  // scale_bytes: of 16 columns

  std::int64_t block_bytes() const noexcept { return header_bytes + span * code_bytes; }
  /// Bytes of the stream, whole cache lines. The last block has no more codes than there are steps.
  std::int64_t bytes() const noexcept {
    const std::int64_t rest = steps % span;
    return head_bytes + steps / span * block_bytes() + (rest != 0 ? header_bytes + rest * code_bytes : 0);
  }
  /// Where the codes of step s begin.
  std::int64_t step_at(std::int64_t s) const noexcept {
    return head_bytes + s / span * block_bytes() + header_bytes + s % span * code_bytes;
  }
  /// Groups whose scales are in a block's header.
  std::int64_t header_groups() const noexcept { return weight.group == 0 ? 0 : span * kQuantStep / weight.group; }
};

/// Dtypes in which zero points and minima are kept: -128 .. 256 are bfloat16 numbers.
constexpr DType offset_dtype(Offset offset) noexcept {
  return offset == Offset::kMin ? DType::kUInt8 : DType::kBFloat16;
}

/// Layout for `cols` weights a row. `uniform`: all rows of a tile have the same scales. `by_column`: groups from a
/// table.
TileFormat tile_format(const WeightFormat& weight, std::int64_t cols, bool uniform, bool by_column);

}  // namespace moekit::cpu
