// SPDX-License-Identifier: Apache-2.0
// The grouped experts of a call, in two phases with one barrier between them:
//   up    a thread takes (expert, chunk of rows, share of panels) from a counter: gather, gate and up, activation
//   down  a thread owns a slab of output columns for all experts, in ascending order of their id: the weighted sum
//   needs
//         neither atomics nor a [T k, H] buffer, and its order does not depend on batch or threads
// kLinear experts have no up-projection: their first phase only gathers.
#pragma once

#include "backends/cpu/packed.h"
#include "backends/cpu/workspace.h"

namespace moekit::cpu {

/// y = the block's output for a routing of all tokens of x.
void run_experts(const CpuBlock& block, const MatrixView& x, const RoutingView& routing, const MutableMatrixView& y,
                 CpuWorkspace& workspace);

/// Rows sorted by expert to one float32 row each, unweighted.
void run_grouped(const CpuBlock& block, const MatrixView& rows, const std::int64_t* offsets,
                 const MutableMatrixView& out, CpuWorkspace& workspace);

/// Bytes of arena for a call of `tokens` tokens.
std::size_t experts_workspace_bytes(const CpuBlock& block, std::int64_t tokens);

}  // namespace moekit::cpu
