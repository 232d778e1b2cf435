// SPDX-License-Identifier: Apache-2.0
// A block whose routed experts are spread over devices: each rank has all tokens come to its experts.
//
//   fused:   routing of the own tokens -> rows to the ranks of their experts -> own experts -> rows back, summed up
//   general: x of every rank -> all-gather -> routing of all tokens -> own experts -> sum over ranks, each its own
//            tokens back, in float32 and HCCL's order
//   -> + identity and shared experts of the own tokens
//
// Routers and shared experts are on every rank.
#pragma once

#include "backends/ascend/distribute.h"
#include "backends/ascend/packed.h"
#include "backends/ascend/workspace.h"

namespace moekit::ascend {

class ExpertParallelBlock {
 public:
  /// Packs experts rank * E / ranks .. (rank + 1) * E / ranks of the block; `tensors` has all of them, the others are
  /// not read. `group` outlives the block. Throws UnsupportedError for a block that one device would decline too, for
  /// routing by the caller and by token ids, and where E is no multiple of the ranks.
  ExpertParallelBlock(const BlockConfig& config, const BlockTensors& tensors, const BlockFormats& formats,
                      const Communicator& group);

  /// This rank's x [tokens, input] to y [tokens, output], device memory without gaps; all ranks call it with the same
  /// number of tokens. `stream` null: returns when done. One call at a time.
  void forward(const MatrixView& x, const MutableMatrixView& y, Stream* stream = nullptr);

  const AscendBlock& block() const noexcept { return block_; }
  std::string explain() const;

 private:
  void describe(Queue& queue, const MatrixView& x, const MutableMatrixView& y);

  const Communicator& group_;
  AscendBlock block_;
  FusedPlan fused_;
  AscendWorkspace workspace_;
};

}  // namespace moekit::ascend
