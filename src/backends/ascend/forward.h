// SPDX-License-Identifier: Apache-2.0
// One call of a block: chunks of tokens, workspace, recordings, the stream.
#pragma once

#include "backends/ascend/packed.h"
#include "backends/ascend/workspace.h"

namespace moekit::ascend {

/// What a call does. Without `routes`, ids and weights are read from `routing`; without `computes`, y is not written.
struct CallSteps {
  bool routes = true, computes = true;
};

/// Pointers are device memory; null routing pointers: nobody asks. `stream` null: the call returns when it is done.
void run_call(const AscendBlock& block, const MatrixView& x, const RouteInputs& inputs, const RoutingView& routing,
              const MutableMatrixView& y, AscendWorkspace& workspace, Stream* stream, CallSteps steps);

/// Rows sorted by expert to rows, experts only. `offsets` [experts + 1] is host memory.
void run_grouped(const AscendBlock& block, const MatrixView& rows, const std::int64_t* offsets,
                 const MutableMatrixView& out, AscendWorkspace& workspace, Stream* stream);

/// Device memory that a call of so many tokens takes, without the operators' own workspace, which only they know.
std::size_t count_call(const AscendBlock& block, std::int64_t tokens);

}  // namespace moekit::ascend
