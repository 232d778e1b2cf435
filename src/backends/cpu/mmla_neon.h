// SPDX-License-Identifier: Apache-2.0
// Operands of Arm's matrix products (FEAT_I8MM, FEAT_BF16): two rows times two columns, eight bytes of k each, to a
// register of four sums: row 0 of both columns, then row 1.
#pragma once

#include <arm_neon.h>

#include "backends/cpu/vec.h"

namespace moekit::cpu {
namespace {

constexpr int kColumnPairs = 8;  // of a tile

/// Passes of so many rows through the tiles of a panel: four or two rows meet one tile at a time, a last one both.
constexpr std::int64_t mmla_calls(std::int64_t rows) { return 2 * (rows / 4 + rows / 2 % 2) + rows % 2; }

/// Eight bytes of k of both rows.
MOEKIT_INLINE uint64x2_t mmla_rows(const std::byte* row0, const std::byte* row1) {
  return vcombine_u64(load<uint64x1_t>(row0), load<uint64x1_t>(row1));
}

/// Two lines of a tile, sixteen columns x four bytes of k each, to pairs of columns.
struct MmlaColumns {
  uint32x4_t pair[kColumnPairs];

  MOEKIT_INLINE MmlaColumns(U16 first, U16 second) {
#pragma GCC unroll 4
    for (int i = 0; i < 4; ++i) {
      const auto low = (uint32x4_t)first.at[i], high = (uint32x4_t)second.at[i];
      pair[2 * i] = vzip1q_u32(low, high);
      pair[2 * i + 1] = vzip2q_u32(low, high);
    }
  }
};

}  // namespace
}  // namespace moekit::cpu
