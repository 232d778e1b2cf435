// SPDX-License-Identifier: Apache-2.0
// Which operators route, for a router and a dtype of x. Where the device has no operator for a rule, the logits go to
// the host, where select() of src/routing does what it does for every backend.
#pragma once

#include <string>

#include "backends/ascend/ascend_abi.h"
#include "moekit/router.h"

namespace moekit::ascend {

struct RoutePlan {
  enum class Gate : std::uint8_t {
    kHost,      // select() on the host
    kExternal,  // ids and weights of the caller
    kAll,       // every expert: a softmax
    kSoftmax,   // MoeGatingTopKSoftmax, V2 where it renormalises
    kTopK,      // MoeGatingTopK: sigmoid, groups, selection bias
  };
  Gate gate = Gate::kHost;
  std::string reason;             // why the host routes
  AclDType logits = kAclFloat;    // what they are rounded to after each operation on them
  bool softmax_of_top_k = false;  // kSoftmax: V2's own renormalisation
  bool gather_scores = false;     // kTopK: weights are the raw scores at the ids, the operator's own are renormalised
  bool renormalise = false;       // w / (sum + eps), or w / max(sum, eps), by further operators
  bool scale = false;             // by a further operator
  AclDType weights = kAclFloat;   // what they are rounded to at the end

  bool on_device() const noexcept { return gate != Gate::kHost; }
};

/// `native`: the dtype of x, which roundings of the router's configuration refer to.
RoutePlan plan_route(const RouterConfig& config, bool has_selection_bias, bool has_per_expert_scale, bool has_in_scale,
                     AclDType native);
/// One line for explain().
std::string describe(const RoutePlan& plan);

}  // namespace moekit::ascend
