// SPDX-License-Identifier: Apache-2.0
// Expert parallelism by CANN's fused operators: one sends each row to the ranks of its experts, sorted by expert, the
// other brings the experts' rows back and sums them up.
#pragma once

#include <string>

#include "backends/ascend/call.h"
#include "backends/ascend/communicator.h"

namespace moekit::ascend {

struct FusedPlan {
  std::string reason;           // why the operators cannot be used; empty: they can
  bool atlas_a2 = false;        // which wants the weights with the rows, and the algorithm's name
  std::int64_t max_tokens = 0;  // of a rank, in one call
};
/// What the chip, the group and its buffers (HCCL_BUFFSIZE, in MB) allow for the block. The same on every rank.
FusedPlan plan_fused(const AscendBlock& block, const Communicator& group);

/// The sum over all routed experts of all ranks, times `factor`, [tokens, output] of the experts' dtype. x and routing
/// of this rank's tokens; every rank calls it with as many.
Tensor fused_sum(Queue& queue, const AscendBlock& block, const Communicator& group, const FusedPlan& plan,
                 const Tensor& x, const Routed& routed, double factor);

}  // namespace moekit::ascend
