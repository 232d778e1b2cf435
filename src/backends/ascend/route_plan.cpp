// SPDX-License-Identifier: Apache-2.0
#include "backends/ascend/route_plan.h"

#include <algorithm>
#include <cmath>

#include "backends/ascend/api.h"

namespace moekit::ascend {
namespace {

using Gate = RoutePlan::Gate;

constexpr std::int64_t kMaxColumns = 2048;      // of MoeGatingTopK, groups rounded up to 32 columns each
constexpr std::int64_t kMaxSoftmaxTopK = 1024;  // of MoeGatingTopKSoftmax

struct Facts {
  bool selection_bias, per_expert_scale, in_scale;
  AclDType native;
};

// What no operator does, whatever the rule.
std::string common_reason(const RouterConfig& c, const Facts& facts) {
  if (c.source == RouterSource::kHashTable) return "the choice comes from a table of token ids";
  if (c.in_rmsnorm || c.in_mult != 1.0 || facts.in_scale) return "the router's input is normalised or scaled";
  if (c.softcap != 0.0) return "logits are soft-capped";
  if (facts.per_expert_scale) return "weights have a scale per expert";
  if (facts.native != kAclFloat && c.score_in == Precision::kNative)
    return "scores are rounded to the dtype of x before the choice";
  if (c.renorm == Renorm::kPnorm && c.p != 1.0) return "weights are divided by a p-norm";
  return {};
}

// Adding eps changes no bit of a float32 sum that is at least `least`: half an ulp of it is least * 2^-25 at most.
bool eps_vanishes(double eps, double least) { return eps >= 0.0 && eps < std::ldexp(least, -25); }

bool keeps_sum(const RouterConfig& c) { return c.renorm == Renorm::kOff; }

// Renormalisation by further operators, whatever the gate gives.
bool composes(const Operators& op) { return op.reduce_sum && op.adds && op.clamp && op.div; }

RoutePlan host(std::string reason) {
  RoutePlan plan;
  plan.reason = std::move(reason);
  return plan;
}

RoutePlan softmax_plan(const RouterConfig& c, const Operators& op) {
  RoutePlan plan;
  plan.gate = Gate::kSoftmax;
  if (c.top_k > kMaxSoftmaxTopK) return host("top_k passes " + std::to_string(kMaxSoftmaxTopK));
  // The k largest of E softmax scores sum up to k / E at least.
  const double least = static_cast<double>(c.top_k) / static_cast<double>(c.columns());
  const bool plain_sum = c.renorm == Renorm::kPnorm || eps_vanishes(c.eps, least);
  const bool renormalise = c.score != Score::kSoftmaxTopk && !keeps_sum(c);
  // softmax(top-k logits) = top-k scores / their sum
  plan.softmax_of_top_k = op.gating_softmax_v2 && (c.score == Score::kSoftmaxTopk || (renormalise && plain_sum));
  if (!op.gating_softmax_v2 && !op.gating_softmax) return host("MoeGatingTopKSoftmax is missing");
  plan.renormalise = c.score == Score::kSoftmaxTopk ? !op.gating_softmax_v2 : renormalise && !plan.softmax_of_top_k;
  // A softmax over the chosen logits is only then followed by the configuration's own renormalisation.
  if (c.score == Score::kSoftmaxTopk && !keeps_sum(c)) return host("weights are renormalised twice");
  plan.scale = c.scale != 1.0;
  return plan;
}

RoutePlan top_k_plan(const RouterConfig& c, const Facts& facts, const Operators& op) {
  RoutePlan plan;
  plan.gate = Gate::kTopK;
  if (!op.gating_top_k) return host("MoeGatingTopK is missing");
  const bool grouped = c.group_rule != GroupRule::kNone;
  const std::int64_t groups = grouped ? c.n_group : 1, size = c.columns() / groups;
  const std::int64_t kept = grouped ? c.topk_group : 1;
  if ((size + 31) / 32 * 32 * groups > kMaxColumns)
    return host("groups of 32 columns pass " + std::to_string(kMaxColumns));
  if (c.group_rule == GroupRule::kTop2Sum && size < 2) return host("groups of one column have no two largest");
  if (c.top_k > size * kept) return host("top_k passes the columns of the groups kept");
  // Groups that are not kept fall to -Inf there. Against positive scores 0 is the same; a selection bias may be
  // negative.
  if (grouped && kept < groups && !std::isinf(c.mask_fill) && (facts.selection_bias || c.mask_fill != 0.0))
    return host("columns of groups that are not kept stay eligible");
  if (c.score == Score::kSoftmax) {
    plan.renormalise = !keeps_sum(c);  // the operator's own is missing in older releases
  } else if (c.renorm != Renorm::kAddEps) {
    plan.gather_scores = true;  // the operator divides sigmoid scores by (sum + eps) always
    if (!op.gather) return host("the operator always renormalises, and Gather is missing");
    plan.renormalise = !keeps_sum(c);
  }
  plan.scale = c.scale != 1.0 && (plan.renormalise || plan.gather_scores);
  return plan;
}

RoutePlan choose(const RouterConfig& c, const Facts& facts, const Operators& op) {
  if (const std::string reason = common_reason(c, facts); !reason.empty()) return host(reason);
  if (c.all_experts) {
    if (c.score != Score::kSoftmax || !op.softmax) return host("every expert is mixed by another rule than a softmax");
    RoutePlan plan;
    plan.gate = Gate::kAll;
    plan.renormalise = !keeps_sum(c);
    plan.scale = c.scale != 1.0;
    return plan;
  }
  if (c.group_rule == GroupRule::kArgmaxPerGroup) return host("one expert is chosen from each group");
  const bool biased = facts.selection_bias, grouped = c.group_rule != GroupRule::kNone;
  switch (c.score) {
    case Score::kSoftmax:
      // Without a bias, softmax scores and logits have one order.
      if (!biased && !grouped) return softmax_plan(c, op);
      if (c.select_on == SelectOn::kLogit) return host("the choice is made on logits");
      return top_k_plan(c, facts, op);
    case Score::kSoftmaxTopk:
      return biased || grouped ? host("the choice is made on biased or grouped logits") : softmax_plan(c, op);
    case Score::kSigmoid:
      // Large logits all have the sigmoid 1, so their order is not that of the scores.
      return c.select_on == SelectOn::kLogit ? host("the choice is made on logits") : top_k_plan(c, facts, op);
    case Score::kSqrtSoftplus: return host("sqrt(softplus) scores exist on newer chips only");
    case Score::kSparsemixer: return host("sparsemixer");
  }
  return host("an unknown rule");
}

}  // namespace

RoutePlan plan_route(const RouterConfig& config, bool has_selection_bias, bool has_per_expert_scale, bool has_in_scale,
                     AclDType native) {
  RoutePlan plan;
  if (config.source == RouterSource::kExternal) {
    plan.gate = Gate::kExternal;
    return plan;
  }
  const Operators& op = api().op;
  plan = choose(config, {has_selection_bias, has_per_expert_scale, has_in_scale, native}, op);
  if (plan.on_device() && plan.renormalise && !composes(op)) return host("ReduceSum, Adds, Clamp or Div is missing");
  if (config.scale_at != ScaleAt::kOnWeights) plan.scale = false;
  if (plan.on_device() && plan.scale && !op.muls) return host("Muls is missing");
  if (config.matmul == Precision::kNative) plan.logits = native;
  if (config.out == Precision::kNative) plan.weights = native;
  return plan;
}

std::string describe(const RoutePlan& plan) {
  switch (plan.gate) {
    case Gate::kHost:
      return "on the host (" + plan.reason + "): the logits are copied there and the call waits for them";
    case Gate::kExternal: return "by the caller";
    case Gate::kAll: return "on the device: aclnnSoftmax";
    case Gate::kSoftmax:
      return std::string("on the device: ") +
             (plan.softmax_of_top_k ? "aclnnMoeGatingTopKSoftmaxV2" : "aclnnMoeGatingTopKSoftmax") +
             (plan.renormalise ? ", renormalised by separate operators" : "");
    case Gate::kTopK:
      return std::string("on the device: aclnnMoeGatingTopK") +
             (plan.gather_scores ? ", weights from the raw scores" : "") +
             (plan.renormalise ? ", renormalised by separate operators" : "");
  }
  return {};
}

}  // namespace moekit::ascend
