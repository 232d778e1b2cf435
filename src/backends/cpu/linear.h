// SPDX-License-Identifier: Apache-2.0
// A dense projection with the kernels of the grouped experts: router logits and shared-expert gates.
#pragma once

#include "backends/cpu/packed.h"
#include "backends/cpu/workspace.h"
#include "moekit/core.h"

namespace moekit::cpu {

/// Rows in which a set of rows is swept: equal chunks whose blocks of A (row_bytes a row) stay in the second-level
/// cache.
std::int64_t chunk_rows(std::int64_t rows, std::int64_t row_bytes) noexcept;

/// Threads worth waking for this many multiply-adds and bytes of weights; 1 for the smallest layers.
int worthwhile_threads(double multiply_adds, double weight_bytes) noexcept;

/// Bytes of arena that linear() takes.
std::size_t linear_bytes(const ChosenKernels& chosen, const PackedMatrix& matrix, std::int64_t tokens, int threads);

/// x [T, cols] times matrix^T to float32 [T, panels * 32], taken from the arena.
float* linear(const ChosenKernels& chosen, const PackedMatrix& matrix, const MatrixView& x, Arena& arena, int threads);

}  // namespace moekit::cpu
