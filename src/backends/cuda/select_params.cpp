// SPDX-License-Identifier: Apache-2.0
#include "backends/cuda/host_params.h"
#include "routing/rules.h"

namespace moekit::cuda {

SelectParams select_params(const RouterConfig& config, DType native) {
  const auto in = [&](Precision precision) { return element_of(rounding(precision, native)); };
  SelectParams p = {};
  p.columns = static_cast<int>(config.columns());
  p.top_k = static_cast<int>(config.top_k);
  p.score = config.score;
  p.group_rule = config.group_rule;
  p.renorm = config.renorm;
  p.n_group = static_cast<int>(config.n_group);
  p.topk_group = static_cast<int>(config.topk_group);
  p.logit_mult = static_cast<float>(config.logit_mult);
  p.softcap = static_cast<float>(config.softcap);
  p.mask_fill = static_cast<float>(config.mask_fill);
  p.eps = static_cast<float>(config.eps);
  p.p = static_cast<float>(config.p);
  p.inverse_p = static_cast<float>(1.0 / config.p);
  p.scale = config.scale_at == ScaleAt::kOnWeights ? static_cast<float>(config.scale) : 1.0f;
  p.all_experts = config.all_experts;
  p.select_on_logit = config.select_on == SelectOn::kLogit;
  p.logits_in = in(config.matmul);
  p.scores_in = in(config.score_in);
  p.weights_in = in(config.out);
  const float limit = static_cast<float>(2.0 * config.sparsemixer_eps);
  p.sparsemixer_limit = rounded(limit, rounding(config.score_in, native));
  return p;
}

}  // namespace moekit::cuda
