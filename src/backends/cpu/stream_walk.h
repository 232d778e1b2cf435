// SPDX-License-Identifier: Apache-2.0
// The way through a stream of tile_format.h, and what is brought into the caches on it.
#pragma once

#include <algorithm>

#include "backends/cpu/kernels.h"
#include "backends/cpu/scales.h"

namespace moekit::cpu {
namespace {

/// What is read once, front to back, is brought into the second-level cache a little before, past the ends of pages,
/// where the hardware's prefetcher stops; beyond the end of a stream lies the one that is read next. Into the
/// first-level cache it would come 10 to 20 % slower on Zen 4, bfloat16 and codes at 1 to 16 tokens.
template <std::int64_t kBytes = 2048>
struct StreamAhead {
  const std::byte* last = nullptr;  // from here on, what is kBytes on is beyond the end
  std::int64_t beyond = kBytes;     // how far on the next stream's part is then

  StreamAhead() = default;
  /// following: where the next stream begins, or null.
  MOEKIT_INLINE StreamAhead(const std::byte* stream, std::int64_t bytes, const std::byte* following)
      : last(stream + bytes - kBytes) {
    if (following != nullptr) beyond = following - last;
  }
  MOEKIT_INLINE const std::byte* of(const std::byte* at) const { return at + (at < last ? kBytes : beyond); }
  /// The lines of [from, to).
  MOEKIT_INLINE void bring(const std::byte* from, const std::byte* to) const { bring_lines(of(from), to - from); }
  MOEKIT_INLINE static void bring_lines(const std::byte* at, std::int64_t bytes) {
    for (const std::byte* end = at + bytes; at < end; at += kLineBytes) __builtin_prefetch(at, 0, 2);
  }
};

/// Through a stream step after step. Scales are made where a group begins, which costs as much as a step's weights.
struct StepWalk {
  const TileFormat* layout;
  const std::byte *stream, *header, *codes;  // codes: of the step
  std::int64_t in_block, group;              // group: the next one's place
  std::int64_t left, next_left, per_group;   // steps for which `groups` hold, and the next one will; of a whole group
  int second;                                // place of the group of k 16 .. 31 in `groups`
  GroupLanes groups[2];                      // of k 0 .. 15, and of 16 .. 31 where those have their own

  StepWalk() = default;
  /// From step `first` on.
  MOEKIT_INLINE StepWalk(const TileFormat& format, const std::byte* at, std::int64_t first)
      : layout(&format), stream(at) {
    const std::int64_t size = format.weight.group, block = first / format.span;
    in_block = first % format.span;
    header = stream + format.head_bytes + block * format.block_bytes();
    codes = header + format.header_bytes + in_block * format.code_bytes;
    group = size == 0 ? 0 : (format.header_bytes == 0 ? first : in_block) * kQuantStep / size;
    second = size == 16 ? 1 : 0;
    per_group = size == 0 ? format.steps : std::max<std::int64_t>(1, size / kQuantStep);
    left = 0;
    next_left = per_group - first % per_group - 1;  // a group never goes beyond its block
  }
  MOEKIT_INLINE GroupLanes next_group() {
    const TileFormat& format = *layout;
    const std::int64_t g = group++;
    return format.header_bytes == 0 ? head_group(format, stream, g) : header_group(format, stream, header, g);
  }
  /// The groups of this step, each new one after change(group).
  template <class Change>
  MOEKIT_INLINE void begin(const Change& change) {
    if (left-- != 0) return;
    groups[0] = next_group();
    change(groups[0]);
    if (second != 0) {  // the last step may have one group only: the head is zero up to its line's end
      groups[1] = next_group();
      change(groups[1]);
    }
    left = next_left;
    next_left = per_group - 1;
  }
  /// The group of a half of the step.
  MOEKIT_INLINE const GroupLanes& of(int half) const { return groups[half * second]; }
  MOEKIT_INLINE void end() {
    const TileFormat& format = *layout;
    codes += format.code_bytes;
    if (++in_block != format.span) return;
    header = codes;
    codes += format.header_bytes;
    in_block = 0;
    if (format.header_bytes != 0) group = 0;
  }
};

/// P panels, one after the other in memory, whose streams are read side by side.
template <int P, class Ahead>
struct PanelWalks {
  static constexpr int kTiles = 2 * P;
  StepWalk walks[kTiles];
  Ahead ahead[kTiles];
  const std::byte* upcoming[kTiles];  // what the step's codes bring in

  /// following: the panels that are read next, or null.
  MOEKIT_INLINE PanelWalks(const QuantPanels& quant, const std::byte* panel, const std::byte* following) {
    for (int tile = 0; tile < kTiles; ++tile) {
      const TileFormat& format = quant.half[tile % 2];
      const std::int64_t at = tile / 2 * quant.panel_bytes() + tile % 2 * quant.half[0].bytes();
      walks[tile] = StepWalk(format, panel + at, 0);
      ahead[tile] = Ahead(panel + at, format.bytes(), following != nullptr ? following + at : nullptr);
      ahead[tile].bring(panel + at, walks[tile].codes);
    }
  }
  template <class Change>
  MOEKIT_INLINE void begin(const Change& change) {
    for (int tile = 0; tile < kTiles; ++tile) {
      walks[tile].begin(change);
      upcoming[tile] = ahead[tile].of(walks[tile].codes);
    }
  }
  /// Codes [from, to) of the step are about to be read: those so far ahead of them.
  MOEKIT_INLINE void bring(int tile, std::int64_t from, std::int64_t to) const {
    Ahead::bring_lines(upcoming[tile] + from, to - from);
  }
  MOEKIT_INLINE void end() {
    for (int tile = 0; tile < kTiles; ++tile) {
      walks[tile].end();
      if (walks[tile].in_block == 0) ahead[tile].bring(walks[tile].header, walks[tile].codes);
    }
  }
};

}  // namespace
}  // namespace moekit::cpu
