// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "backends/cpu/packed.h"
#include "backends/cpu/workspace.h"

namespace moekit::cpu {

/// Router logits by the block's kernels, then the rules of src/routing, tokens in parallel.
void route(const CpuBlock& block, const MatrixView& x, const RouteInputs& inputs, const RoutingView& routing,
           CpuWorkspace& workspace);

}  // namespace moekit::cpu
