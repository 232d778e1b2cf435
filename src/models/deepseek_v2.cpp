// SPDX-License-Identifier: Apache-2.0
// DeepSeek-V2: logits in float32, softmax, groups by their best expert when topk_method says so, never renormalised.
#include "models/family.h"

namespace moekit {

Family deepseek_v2() {
  Family family;
  family.name = "deepseek_v2";
  family.router.matmul = Precision::kFloat32;
  family.router.score = Score::kSoftmax;
  family.router.mask_fill = 0.0;
  family.group_rule = GroupRule::kMax;
  family.group_switch = {"topk_method", "group_limited_greedy"};
  family.groups = {{"n_group"}, 1.0, 1.0};
  family.kept_groups = {{"topk_group"}, 1.0, 1.0};
  family.scale = {{"routed_scaling_factor"}, 1.0};
  family.shared_count = {{"n_shared_experts"}, 2.0, 0.0};
  family.layer_rule.first = {{"first_k_dense_replace"}, 0.0, 0.0};
  family.layer_rule.step = {{"moe_layer_freq"}, 1.0};
  family.known_values = {{"scoring_func", {"softmax"}},
                         {"topk_method", {"greedy", "group_limited_greedy"}},
                         {"norm_topk_prob", {false}},
                         {"mlp_bias", {false}}};
  return family;
}

}  // namespace moekit
