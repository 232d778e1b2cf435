// SPDX-License-Identifier: Apache-2.0
#include <cfloat>

#include "backends/ascend/call.h"
#include "backends/ascend/elementwise.h"

namespace moekit::ascend {
namespace {

using Gate = RoutePlan::Gate;

// z [tokens, columns] float32: x Wg^T + bias, multiplied; rounded after each step where the plan says so.
Tensor finished_logits(Queue& queue, const AscendBlock& block, const RoutePlan& plan, const Tensor& x) {
  const RouterConfig& config = block.config().router;
  Tensor z = product(queue, cast(queue, x, kAclFloat), block.router_weight);
  if (block.router_bias) z = add(queue, z, block.router_bias);
  z = rounded(queue, z, plan.logits);
  if (config.logit_mult != 1.0) z = rounded(queue, scaled(queue, z, config.logit_mult), plan.logits);
  return z;
}

// The gates are not specified for NaN and infinities: those become the ends of the number line, so that ids stay
// distinct and in range. The row's output is NaN all the same, because its x is.
Tensor without_nan(Queue& queue, const Tensor& z) {
  if (!api().op.nan_to_num) return z;
  const Tensor out = queue.make(kAclFloat, {z.dims[0], z.dims[1]});
  queue.run(api().op.nan_to_num, z, -FLT_MAX, FLT_MAX, -FLT_MAX, out);
  return out;
}

void gate_softmax(Queue& queue, const RoutePlan& plan, const Tensor& z, const Routed& out) {
  const Operators& op = api().op;
  const std::int64_t k = out.ids.dims[1];
  if (op.gating_softmax_v2)
    return queue.run(op.gating_softmax_v2, z, nullptr, k, plan.softmax_of_top_k ? 1 : 0, false, out.weights, out.ids,
                     nullptr);
  const Tensor rows = queue.make(kAclInt32, {z.dims[0], k});  // a row index that nothing here uses
  queue.run(op.gating_softmax, z, nullptr, k, out.weights, out.ids, rows);
}

void gate_top_k(Queue& queue, const AscendBlock& block, const RoutePlan& plan, const Tensor& z, const Routed& out) {
  const RouterConfig& config = block.config().router;
  const bool grouped = config.group_rule != GroupRule::kNone, sigmoid = config.score == Score::kSigmoid;
  const bool scale = !plan.scale && config.scale_at == ScaleAt::kOnWeights;
  const Tensor scores = queue.make(kAclFloat, {z.dims[0], z.dims[1]});
  queue.run(api().op.gating_top_k, z, block.selection_bias, out.ids.dims[1], grouped ? config.topk_group : 1,
            grouped ? config.n_group : 1, config.group_rule == GroupRule::kTop2Sum ? 1 : 0, 0, sigmoid ? 1 : 0,
            plan.gather_scores, scale ? config.scale : 1.0, config.renorm == Renorm::kAddEps ? config.eps : 0.0,
            out.weights, out.ids, scores);
  if (plan.gather_scores) queue.run(api().op.gather, scores, 1, out.ids, out.weights);
}

Tensor renormalised(Queue& queue, const RouterConfig& config, const Tensor& weights) {
  Tensor sum = row_sums(queue, weights);
  const Tensor norm = queue.make(kAclFloat, {weights.dims[0], 1});
  if (config.renorm == Renorm::kClampMin) {
    queue.run(api().op.clamp, sum, Scalar{config.eps}, nullptr, norm);
    sum = norm;
  } else if (config.renorm == Renorm::kAddEps && config.eps != 0.0) {
    queue.run(api().op.adds, sum, Scalar{config.eps}, Scalar{1.0}, norm);
    sum = norm;
  }
  const Tensor out = queue.make(kAclFloat, {weights.dims[0], weights.dims[1]});
  queue.run(api().op.div, weights, sum, out);
  return out;
}

}  // namespace

Routed route_on_device(Queue& queue, const AscendBlock& block, const RoutePlan& plan, const Tensor& x,
                       const Constants& constants) {
  const RouterConfig& config = block.config().router;
  const std::int64_t tokens = x.dims[0], k = config.top_k;
  const Tensor z = finished_logits(queue, block, plan, x);
  Routed out = {queue.make(kAclInt32, {tokens, k}), queue.make(kAclFloat, {tokens, k})};
  switch (plan.gate) {
    case Gate::kAll:
      out.ids = tensor_over(constants.all_ids.data(), kAclInt32, {tokens, k});
      queue.run(api().op.softmax, z, 1, out.weights);
      break;
    case Gate::kSoftmax: gate_softmax(queue, plan, without_nan(queue, z), out); break;
    default: gate_top_k(queue, block, plan, without_nan(queue, z), out); break;
  }
  if (plan.renormalise) out.weights = renormalised(queue, config, out.weights);
  if (plan.scale) out.weights = scaled(queue, out.weights, config.scale);
  out.weights = rounded(queue, out.weights, plan.weights);
  return out;
}

}  // namespace moekit::ascend
