// SPDX-License-Identifier: Apache-2.0
// The steps of a call on the device, one file each. x is [tokens, hidden], contiguous, of the caller's dtype.
#pragma once

#include "backends/ascend/packed.h"
#include "backends/ascend/queue.h"
#include "backends/ascend/workspace.h"

namespace moekit::ascend {

struct Routed {
  Tensor ids;      // [tokens, k] int32
  Tensor weights;  // [tokens, k] float32
};

/// Logits to ids and weights by operators of the device. `all_ids`: Constants::all_ids.
Routed route_on_device(Queue& queue, const AscendBlock& block, const RoutePlan& plan, const Tensor& x,
                       const Constants& constants);
/// The same by select() on the host: the call waits for the logits. `token_ids` [tokens] int64 of the device, or null.
Routed route_on_host(Queue& queue, const AscendBlock& block, const RoutePlan& plan, const Tensor& x,
                     const std::int64_t* token_ids, AscendWorkspace& workspace);

/// What becomes of the rows of a product that belong to no expert, which operators leave as they were.
enum class Tail : std::uint8_t { kUndefined, kZeroLast, kZero };

/// Rows of x sorted by expert.
struct Permuted {
  Tensor rows;                   // [tokens * k, hidden]: dtype of x, or int8
  Tensor scales;                 // [tokens * k] float32 of int8 rows
  Tensor row_index;              // [tokens * k] int32: where the row of flat position token * k + j lies; see `skips`
  Tensor counts;                 // [experts] int64 rows of each expert
  Tail tail = Tail::kUndefined;  // what slots without an expert need: they point into the tail
};
/// Rows for the experts of `slice`. Other ids (none reaches `id_limit`) belong to no expert here; `skips`: there may be
/// such. `quantise`: rows to int8.
Permuted permute_rows(Queue& queue, const Tensor& x, const Tensor& ids, ExpertSlice slice, std::int64_t id_limit,
                      bool skips, bool quantise);

/// The experts on sorted rows [rows, input] (with scales where they are int8), `counts` of them each; [rows, output] of
/// the experts' dtype.
Tensor run_mlp(Queue& queue, const Mlp& mlp, const Tensor& rows, const Tensor& scales, const Tensor& counts, Tail tail);
/// Expert i of them alone.
Mlp expert_of(const Mlp& mlp, std::int64_t index);

/// [rows, 2 * intermediate] gates and ups, or [rows, intermediate], to [rows, intermediate].
Tensor activate(Queue& queue, const ExpertConfig& config, const Tensor& in);

/// Everything after routing: y [tokens, output] contiguous.
void run_experts(Queue& queue, const AscendBlock& block, const Tensor& x, const Routed& routed, const Tensor& y,
                 const Constants& constants);

/// The two halves of it: the sum over the block's own routed experts into `sum` [tokens, output] float32 or y's dtype,
/// and what is added to the sum over all of them.
void sum_experts(Queue& queue, const AscendBlock& block, const Tensor& x, const Routed& routed, const Tensor& sum,
                 const Constants& constants);
void add_others(Queue& queue, const AscendBlock& block, const Tensor& x, const Routed& routed, const Tensor& sum,
                const Tensor& y, const Constants& constants);

/// What multiplies the sum over the routed experts.
double routed_factor(const BlockConfig& config) noexcept;

/// Makes room for `tokens` in the tables. Waits for nothing when there is.
void grow_constants(Constants& constants, const AscendBlock& block, std::int64_t tokens, AclStream stream);
Tensor row_count(const Constants& constants, std::int64_t rows);

}  // namespace moekit::ascend
