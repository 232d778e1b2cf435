// SPDX-License-Identifier: Apache-2.0
// Sweeps of rows of parts over float32 panels, which are split a few steps at a time, and the entries of a table for
// them. Rows and panels that parts cannot hold go through the float32 kernels, with their bits.
#pragma once

#include <type_traits>

#include "backends/cpu/rows.h"
#include "backends/cpu/split_parts.h"
#include "backends/cpu/sweep.h"

namespace moekit::cpu {
namespace {

/// The results of rows from r on, r within the first block.
inline void skip_rows(UpArgs& args, std::int64_t r) { args.h += r * kLineBytes; }
inline void skip_rows(DownArgs& args, std::int64_t r) {
  if (args.token == nullptr) args.out += r * args.out_stride;
  if (args.token != nullptr) args.token += r;
  if (args.weight != nullptr) args.weight += r;
}
inline void skip_block(UpArgs& args) { args.h += args.h_segments * kSegmentBytes; }
inline void skip_block(DownArgs& args) { skip_rows(args, kBlockRows); }
inline void run_floats(const UpArgs& args) { args.floats->kernels->up(args); }
inline void run_floats(const DownArgs& args) { args.floats->kernels->down(args); }

/// The bytes that say of the rows of a block whether parts hold them.
MOEKIT_INLINE const std::byte* held_of(const std::byte* a, std::int64_t block_bytes, std::int64_t block) {
  return a + (block + 1) * block_bytes - kSegmentBytes;
}

/// Rows of panel n by the float32 kernels: all of them, or those that parts do not hold, as many together as lie
/// together in a block.
template <class Args>
void float_rows(Args args, std::int64_t n, bool all) noexcept {
  const std::int64_t held_bytes = kBlockRows * split_row_bytes(args.steps), rows = args.rows;
  const std::byte* held = args.a;
  args.a = args.floats->a;
  args.first = n;
  args.last = n + 1;
  args.next = nullptr;
  if (all) return run_floats(args);
  for (std::int64_t block = 0; block * kBlockRows < rows; ++block) {
    const std::byte* flags = held_of(held, held_bytes, block);
    const std::int64_t count = std::min(kBlockRows, rows - block * kBlockRows);
    for (std::int64_t r = 0, end; r < count; r = end) {
      const bool is_held = flags[r] != std::byte{0};
      for (end = r + 1; end < count && (flags[end] != std::byte{0}) == is_held;) ++end;
      if (is_held) continue;
      Args some = args;
      some.a += r * kLineBytes;
      some.rows = end - r;
      skip_rows(some, r);
      run_floats(some);
    }
    args.a += args.steps * kSegmentBytes;
    skip_block(args);
  }
}

/// The vector work of a row that parts hold.
template <class Row>
struct HeldRow {
  Row row;
  const std::byte* a;
  std::int64_t block_bytes;

  MOEKIT_INLINE void expect(std::int64_t begin, std::int64_t count) const { row.expect(begin, count); }
  MOEKIT_INLINE void operator()(std::int64_t r) const {
    if (held_of(a, block_bytes, r / kBlockRows)[r % kBlockRows] != std::byte{0}) row(r);
  }
};

template <class Gemm>
struct SplitSweep {
  template <class Args, class RowWork>
  MOEKIT_INLINE static void run(const Args& args, const RowWork& row_work) {
    const std::int64_t steps = split_steps(args.steps), groups = ceil_div(args.rows, Gemm::kGroup);
    const std::int64_t block_bytes = kBlockRows * split_row_bytes(args.steps), panel_bytes = args.steps * kStepBytes;
    for (std::int64_t n = args.first; n < args.last; ++n) {
      const std::byte* panel = args.panels + n * panel_bytes;
      const std::byte* following = n + 1 < args.last ? panel + panel_bytes : args.next;
      PanelLargest largest;
      for (std::int64_t s = 0; s < steps; s += kSplitSteps) {
        const std::int64_t count = std::min(kSplitSteps, steps - s);
        // Half of what is split next is brought during this, the other half by the groups of rows, each its share: with
        // one group both take 1000 to 1500 cycles by count (3600 vector instructions, 48 products of 16 to 26 cycles).
        const std::byte* next = s + count < steps ? panel + (s + count) * 2 * kStepBytes : following;
        constexpr std::int64_t kHalf = kSplitSteps * kStepBytes, kLines = kHalf / kLineBytes;
        split_panel(panel, args.steps, s, count, args.unpacked, largest, {next, next != nullptr ? kLines : 0});
        Upcoming upcoming{next, next != nullptr ? ceil_div(kLines, groups) : 0};
        if (next != nullptr) upcoming.at += kHalf;
        const std::byte* a = args.a + s * kParts * kSegmentBytes;
        for (std::int64_t first = 0; first < args.rows; first += Gemm::kGroup) {
          Gemm::block(a + first / kBlockRows * block_bytes, block_bytes, std::min(Gemm::kGroup, args.rows - first),
                      args.unpacked, count, args.scratch + first * kPanelColumns, s != 0, upcoming);
          if (upcoming.lines != 0) upcoming.at += upcoming.lines * kLineBytes;
        }
      }
      const bool held = largest.held();
      const auto work = row_work(n, 0, args.scratch);
      if (held) finish_rows(HeldRow<std::decay_t<decltype(work)>>{work, args.a, block_bytes}, args.rows);
      float_rows(args, n, !held);
    }
  }
};

template <class Gemm>
constexpr SplitKernels split_kernels() {
  return {split_rows, up_sweep<float, SplitSweep<Gemm>>, down_sweep<SplitSweep<Gemm>>};
}

}  // namespace
}  // namespace moekit::cpu
