// SPDX-License-Identifier: Apache-2.0
// Layouts that all kernels share, in units of 64-byte cache lines.
//
// Activations ("A"): blocks of 16 rows. A block is a sequence of segments of 1 KiB, each 16 rows x 64 bytes: 32 columns
// of bfloat16 or 16 of float32. A segment of bfloat16 is one AMX tile. Where 4 bit codes are multiplied as they are
// (code_pairs.h), each eight k lie in nibble order: 0, 4, 1, 5, 2, 6, 3, 7.
//
// Weights: panels of 32 output columns. A panel is a sequence of steps of 2 KiB, each two tiles of 1 KiB, each 16
// output columns x 64 bytes of the inner dimension: 32 k of bfloat16 in VNNI order ([16 k pairs][16 columns][2]) or 16
// k of float32 ([16 k][16 columns]). The two tiles of a gated up-projection are 16 gate and 16 up columns, so that the
// activation finds both operands in one accumulator block on every ISA; otherwise they are 32 columns in order.
// Padding is zero in both, so that no kernel has tails in k.
#pragma once

#include <cstddef>
#include <cstdint>

#include "moekit/core.h"

namespace moekit::cpu {

constexpr std::int64_t kBlockRows = 16;
constexpr std::int64_t kPanelColumns = 32;
constexpr std::int64_t kTileColumns = 16;
constexpr std::int64_t kLineBytes = 64;
constexpr std::int64_t kSegmentBytes = kBlockRows * kLineBytes;
constexpr std::int64_t kStepBytes = 2 * kTileColumns * kLineBytes;

constexpr std::int64_t ceil_div(std::int64_t a, std::int64_t b) { return (a + b - 1) / b; }
/// Of groups of at most `most`, as few as hold `count`: the size of the largest where they are as alike as can be.
constexpr std::int64_t even_share(std::int64_t count, std::int64_t most) {
  return ceil_div(count, ceil_div(count, most));
}
constexpr std::int64_t round_up(std::int64_t a, std::int64_t b) { return ceil_div(a, b) * b; }

/// Inner columns of a panel step.
inline std::int64_t step_columns(DType weight) noexcept { return weight == DType::kBFloat16 ? 32 : 16; }
/// Segments of A that a panel step consumes: two when float32 activations meet bfloat16 weights.
inline std::int64_t segments_per_step(DType weight, DType activation) noexcept {
  return weight == DType::kBFloat16 && activation == DType::kFloat32 ? 2 : 1;
}

}  // namespace moekit::cpu
