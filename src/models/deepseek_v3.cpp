// SPDX-License-Identifier: Apache-2.0
// DeepSeek-V3: logits in float32 from float32 operands, sigmoid, a bias for selection only, groups by the sum of their
// two best, weights renormalised with eps and scaled. The shared experts are stored as one of their joint size.
#include "models/family.h"

namespace moekit {

Family deepseek_v3() {
  Family family;
  family.name = "deepseek_v3";
  family.router.matmul = Precision::kFloat32;
  family.router.score = Score::kSigmoid;
  family.router.eps = 1e-20;
  family.group_rule = GroupRule::kTop2Sum;
  family.renorm = {{"norm_topk_prob"}, 1.0};
  family.scale = {{"routed_scaling_factor"}, 2.5};
  family.groups = {{"n_group"}, 8.0, 1.0};
  family.kept_groups = {{"topk_group"}, 4.0, 1.0};
  family.shared_count = {{"n_shared_experts"}, 1.0, 0.0};
  family.layer_rule.first = {{"first_k_dense_replace"}, 3.0, 0.0};
  family.layer_rule.step = {{"moe_layer_freq"}, 1.0};
  family.known_values = {{"scoring_func", {"sigmoid"}}, {"topk_method", {"noaux_tc"}}};
  family.selection_bias = {"gate.e_score_correction_bias"};
  return family;
}

}  // namespace moekit
