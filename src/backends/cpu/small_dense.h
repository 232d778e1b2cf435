// SPDX-License-Identifier: Apache-2.0
// The smallest dense softmax modules, where overhead rules: gate and all experts as one matrix, so that one sweep makes
// the logits and every expert's output. Chosen by the configuration alone, never by the batch.
#pragma once

#include "backends/cpu/packed.h"
#include "backends/cpu/workspace.h"

namespace moekit::cpu {

/// Whether a block is run this way: float32 or bfloat16, which is widened, linear experts of at most 16 outputs, a plain
/// softmax over all of them.
bool is_small_dense(const CpuBlock& block);

/// Rows 0 .. E-1 the gate's, then output rows of expert 0, 1, ... as the block has them packed: [E (1 + output),
/// input].
PackedMatrix pack_small_dense(const CpuBlock& block, const RouterTensors& router);
/// Biases in the same order, padded for whole vectors; empty when there are none.
std::vector<float> small_dense_bias(const CpuBlock& block);

/// Routing and experts of all tokens in one.
void run_small_dense(const CpuBlock& block, const MatrixView& x, const RoutingView& routing, const MutableMatrixView& y,
                     CpuWorkspace& workspace);

}  // namespace moekit::cpu
