// SPDX-License-Identifier: Apache-2.0
// Row-major matrices to plain panels.
#pragma once

#include <vector>

#include "backends/cpu/pack_tiles.h"
#include "backends/cpu/packed.h"
#include "formats/read.h"

namespace moekit::cpu {

/// Memory that packing uses again for the next matrix. One a thread.
struct PackScratch {
  ReadScratch read;
  std::vector<float> row;       // a row on its way between dtypes
  std::vector<std::byte> rows;  // 16 rows of the packed dtype, padded to whole steps
  StreamScratch stream;
  std::vector<std::byte> plain;  // panels on their way to bf16z
};

/// A whole matrix: both tiles of a panel are 32 rows in order.
void pack_plain(const MatrixView& m, DType weight, std::int64_t steps, PackScratch& scratch, std::byte* panels);
/// One operand of a gated up-projection: tile `half` of every panel.
void pack_half(const MatrixView& m, int half, DType weight, std::int64_t steps, PackScratch& scratch,
               std::byte* panels);
/// Bias element i to where panel order has it.
void pack_bias(const MatrixRef& bias, std::int64_t stride, std::int64_t at, PackScratch& scratch, float* out);

}  // namespace moekit::cpu
