// SPDX-License-Identifier: Apache-2.0
// The way through a stream of tile_format.h, and what is brought into the caches on it.
#pragma once

#include <algorithm>

#include "backends/cpu/scales.h"

namespace moekit::cpu {
namespace {

/// What is read once, front to back, is brought into the second-level cache a little before, past the ends of pages,
/// where the hardware's prefetcher stops; beyond the end of a stream lies the one that is read next.
struct StreamAhead {
  static constexpr std::int64_t kBytes = 2048;
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
  MOEKIT_INLINE void bring(const std::byte* from, const std::byte* to) const {
    for (const std::byte *at = of(from), *end = at + (to - from); at < end; at += kLineBytes)
      __builtin_prefetch(at, 0, 2);
  }
};

/// Through a stream step after step. Scales are made where a group begins, which costs as much as a step's weights.
struct StepWalk {
  const TileFormat& format;
  const std::byte *stream, *header, *codes;  // codes: of the step
  std::int64_t in_block, group, left;        // left: steps for which `groups` hold; group: the next one's place
  GroupLanes groups[2];                      // of k 0 .. 15 and 16 .. 31

  /// From step `first` on.
  MOEKIT_INLINE StepWalk(const TileFormat& of, const std::byte* at, std::int64_t first) : format(of), stream(at) {
    const std::int64_t size = format.weight.group, block = first / format.span;
    in_block = first % format.span;
    header = stream + format.head_bytes + block * format.block_bytes();
    codes = header + format.header_bytes + in_block * format.code_bytes;
    group = size == 0 ? 0 : (format.header_bytes == 0 ? first : in_block) * kQuantStep / size;
    left = 0;
  }
  MOEKIT_INLINE GroupLanes next_group() {
    const std::int64_t g = group++;
    return format.header_bytes == 0 ? head_group(format, stream, g) : header_group(format, stream, header, g);
  }
  /// The groups of this step, each new one after change(group).
  template <class Change>
  MOEKIT_INLINE void begin(const Change& change) {
    if (left-- != 0) return;
    const std::int64_t size = format.weight.group;
    groups[0] = next_group();
    change(groups[0]);
    groups[1] = groups[0];
    if (size == 16) {  // of which the last step may have one only: the head is zero up to its line's end
      groups[1] = next_group();
      change(groups[1]);
    }
    // A group never goes beyond its block.
    const std::int64_t per_group = size == 0 ? format.steps : std::max<std::int64_t>(1, size / kQuantStep);
    left = per_group - in_block % per_group - 1;
  }
  MOEKIT_INLINE void end() {
    codes += format.code_bytes;
    if (++in_block != format.span) return;
    header = codes;
    codes += format.header_bytes;
    in_block = 0;
    if (format.header_bytes != 0) group = 0;
  }
};

}  // namespace
}  // namespace moekit::cpu
