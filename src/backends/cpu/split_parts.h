// SPDX-License-Identifier: Apache-2.0
// float32 to parts (split_rows.h): rows of A, and steps of panels.
#pragma once

#include <algorithm>

#include "backends/cpu/kernels.h"
#include "backends/cpu/split_rows.h"
#include "backends/cpu/vec.h"

namespace moekit::cpu {
namespace {

/// Floats, largest part first, of which the high halves are bfloat16. Halves round away from zero: no bit of the
/// mantissa then is in more than one part. (The low half of the last is not zero where it is subnormal.)
struct Parts {
  U16 at[kParts];
};
MOEKIT_INLINE Parts split(F16 x) {
  const U16 high = ((U16)x + 0x8000u) & 0xffff0000u;
  const F16 rest = x - (F16)high;
  const U16 middle = ((U16)rest + 0x8000u) & 0xffff0000u;
  return {{high, middle, (U16)(rest - (F16)middle)}};
}

/// Sixteen pairs of bfloat16, the even one in the low half.
MOEKIT_INLINE U16 pair(U16 even, U16 odd) { return (even >> 16) | (odd & 0xffff0000u); }

/// The largest magnitudes of sixteen rows or columns, as bits: those of NaN are above infinity's.
struct Largest {
  U16 bits = {};
  MOEKIT_INLINE void add(F16 x) {
    const U16 magnitude = (U16)x & 0x7fffffffu;
    bits = where_less(bits, magnitude, magnitude, bits);
  }
  struct Lanes {
    std::uint32_t bits[16];
  };
  MOEKIT_INLINE Lanes lanes() const { return load<Lanes>(&bits); }
};

/// Whether parts hold the numbers of which these are the largest magnitude's bits.
MOEKIT_INLINE bool parts_hold(std::uint32_t largest) {
  constexpr std::uint32_t kLeast = (127u - 40u) << 23, kTooLarge = (127u + 48u) << 23;
  return largest == 0 || (largest >= kLeast && largest < kTooLarge);
}

/// One row: `floats` and `a` are its first lines. Whether parts hold it.
inline bool split_row(const std::byte* floats, std::int64_t steps, std::byte* a) {
  Largest largest;
  for (std::int64_t s = 0; s < steps; ++s, floats += kSegmentBytes) {
    const F16 x = load<F16>(floats);
    largest.add(x);
    const Parts parts = split(x);
    std::byte* line = a + s / 2 * kParts * kSegmentBytes + s % 2 * (kLineBytes / 2);
#pragma GCC unroll 3
    for (int p = 0; p < kParts; ++p) store(line + p * kSegmentBytes, narrow(parts.at[p] >> 16));
  }
  if (steps % 2 != 0)
    for (int p = 0; p < kParts; ++p) store(a + (steps / 2 * kParts + p) * kSegmentBytes + kLineBytes / 2, H16{});
  std::uint32_t most = 0;
  for (const std::uint32_t bits : largest.lanes().bits) most = std::max(most, bits);
  return parts_hold(most);
}

inline void split_rows(const SplitArgs& args) noexcept {
  for (std::int64_t r = 0; r < args.rows; ++r) {
    const std::int64_t block = r / kBlockRows, row = r % kBlockRows;
    const std::byte* floats = args.floats + block * args.steps * kSegmentBytes + row * kLineBytes;
    std::byte* a = args.a + block * kBlockRows * split_row_bytes(args.steps);
    const bool held = split_row(floats, args.steps, a + row * kLineBytes);
    a[split_steps(args.steps) * kParts * kSegmentBytes + row] = static_cast<std::byte>(held);
  }
}

/// Columns of a panel.
struct PanelLargest {
  Largest tile[2];
  bool held() const {
    bool all = true;
    for (const Largest& largest : tile)
      for (const std::uint32_t bits : largest.lanes().bits) all = all && parts_hold(bits);
    return all;
  }
};

/// Steps [first, first + count) of 32 k of a panel of `steps` steps of 16 k: of each the two tiles of a part, then
/// those of the next. `upcoming`: what to bring meanwhile.
inline void split_panel(const std::byte* panel, std::int64_t steps, std::int64_t first, std::int64_t count,
                        std::byte* out, PanelLargest& largest, Upcoming upcoming) noexcept {
  const std::int64_t lines = upcoming.each(4, count);
  for (std::int64_t s = first; s < first + count; ++s, out += kParts * kStepBytes)
    for (int tile = 0; tile < 2; ++tile) {
      Largest seen = largest.tile[tile];
      for (int half = 0; half < 2; ++half) {
        upcoming.step(lines);
        std::byte* pairs = out + tile * kSegmentBytes + half * kSegmentBytes / 2;
        if (2 * s + half >= steps) {  // k beyond the panel
          for (int p = 0; p < kParts; ++p) std::memset(pairs + p * kStepBytes, 0, kSegmentBytes / 2);
          continue;
        }
        const std::byte* from = panel + (2 * s + half) * kStepBytes + tile * kSegmentBytes;
#pragma GCC unroll 8
        for (int i = 0; i < 8; ++i) {
          const F16 x = load<F16>(from + 2 * i * kLineBytes), y = load<F16>(from + (2 * i + 1) * kLineBytes);
          seen.add(x);
          seen.add(y);
          const Parts even = split(x), odd = split(y);
#pragma GCC unroll 3
          for (int p = 0; p < kParts; ++p) store(pairs + p * kStepBytes + i * kLineBytes, pair(even.at[p], odd.at[p]));
        }
      }
      largest.tile[tile] = seen;
    }
}

}  // namespace
}  // namespace moekit::cpu
