// SPDX-License-Identifier: Apache-2.0
// float32 as three bfloat16 parts: x = high + middle + low, for a matrix unit that multiplies bfloat16 and sums in
// float32. high is x rounded to bfloat16 (8 bits), middle what is left rounded likewise, low the 8 bits that are left
// then: nothing is lost. Of the nine products of parts the six largest are summed; the others together are below 2^-22
// of the product of the numbers, of either sign, and what they make of a sum is lost in its roundings.
//
// A: blocks of 16 rows. A block is, for every step of 32 k, a segment (layout.h) of each part, high first; then a
// segment whose first 16 bytes say of each row whether its parts hold it (1) or float32 kernels multiply it (0).
//
// Held are rows of x, and columns of weights, whose largest magnitude is 0 or from 2^-40 to below 2^48:
//   below 2^48   products are below 2^96 and sums of up to 2^31 of them finite: a sum that overflows in another order
//                than float32 kernels' would be another infinity, or a NaN.
//   from 2^-40   The unit takes subnormal numbers for zeros. That changes an operand by less than 2^-126, which is
//                2^-86 of the largest, and a sum by less than 2^-126 at each of its 7 K roundings (34 in a product of
//                tiles, six of them for 32 k): together less than K 2^-43 of the largest x times the largest weight.
//                The K roundings of a chain in float32 may cost K 2^-24 of it.
// Both are decided by one row or one panel alone, so that results depend neither on the batch nor on other experts.
#pragma once

#include <cstdint>

#include "backends/cpu/layout.h"

namespace moekit::cpu {

constexpr int kParts = 3;
/// Inner columns from which on it pays: a step.
constexpr std::int64_t kSplitColumns = 32;

/// Steps of 32 k that `steps` of 16 k of float32 make.
constexpr std::int64_t split_steps(std::int64_t steps) { return ceil_div(steps, 2); }
/// Bytes of a row of A: a line of each part a step, and its share of the last segment.
constexpr std::int64_t split_row_bytes(std::int64_t steps) { return (split_steps(steps) * kParts + 1) * kLineBytes; }

/// Steps of 32 k of a panel that are split at a time. The rows of a group load and store their accumulators once for so
/// many: 8 of 160 tile instructions. The parts, 24 KiB, stay in the first-level cache: two cores split 18.5 GB/s from
/// memory, where slices of 8 steps reached 16.5 and plain reads 28.
constexpr std::int64_t kSplitSteps = 4;
constexpr std::int64_t kSplitBytes = kSplitSteps * kParts * kStepBytes;

}  // namespace moekit::cpu
