// SPDX-License-Identifier: Apache-2.0
// From router logits to expert ids and weights, one token at a time: shared by every backend that routes on the host.
#pragma once

#include <cstdint>
#include <vector>

#include "moekit/router.h"

namespace moekit {

/// Router tensors read once into plain arrays. Empty vectors: absent.
struct RouterTables {
  std::vector<float> bias, selection_bias, per_expert_scale;  // [columns]
  std::vector<float> in_scale;                                // [hidden]
  std::vector<std::int32_t> tid2eid;                          // [vocabulary * top_k]
  std::int64_t vocabulary = 0;
};
/// Throws CheckpointError naming the tensor for a wrong shape or dtype, or an id of tid2eid outside the columns.
RouterTables read_router_tables(const RouterConfig& config, const RouterTensors& tensors);

/// Checks presence, shapes and dtypes of a router's tensors. Throws CheckpointError naming the tensor, what was seen
/// and what was expected.
void validate(const RouterConfig& config, const RouterTensors& tensors, std::int64_t hidden);

/// Per-thread scratch of select(): grows once.
struct RouteScratch {
  std::vector<float> logits, scores, choice, group;
  std::vector<std::int32_t> order;
  std::vector<std::uint64_t> keys;

  /// Grows the buffers to what `config` needs. select() does it too, but cannot report a failed allocation.
  void reserve(const RouterConfig& config);
};

/// logits [columns]: x Wg^T in float32, before bias. `native` is the dtype of x, for Precision::kNative.
/// forced_ids (or null) are the ids of a hash layer. Writes top_k ids and weights, by descending selection value.
///
/// Total order of the selection: by value, -0 = +0, NaN below -Inf; equal values by ascending id. So ids are distinct
/// and in [0, columns) whatever the logits hold. A row with a NaN among its logits has NaN in all of its weights: a
/// poisoned row shows in its output and in no other. Infinities follow IEEE arithmetic (softmax of +Inf is NaN).
void select(const RouterConfig& config, const RouterTables& tables, const float* logits, DType native,
            const std::int32_t* forced_ids, RouteScratch& scratch, std::int32_t* ids, float* weights) noexcept;

/// f(x) of one row in float32: RMSNorm, in_scale and in_mult. Returns false when f is the identity (out untouched).
bool router_input(const RouterConfig& config, const RouterTables& tables, const float* x, std::int64_t hidden,
                  DType native, float* out) noexcept;

/// Checks what the caller passed: presence of ids, weights or token ids for the source, and every value.
/// Throws std::invalid_argument naming row, column, the value and the limit.
void validate(const RouterConfig& config, const RouterTables& tables, const RouteInputs& inputs, std::int64_t tokens);

}  // namespace moekit
