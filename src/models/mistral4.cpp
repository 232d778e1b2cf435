// SPDX-License-Identifier: Apache-2.0
// Mistral 4: native logits and softmax, groups by the sum of their two best, masked scores 0, renormalised and scaled.
#include "models/family.h"

namespace moekit {

Family mistral4() {
  Family family;
  family.name = "mistral4";
  family.router.score = Score::kSoftmax;
  family.router.score_in = Precision::kNative;
  family.router.mask_fill = 0.0;
  family.router.eps = 1e-20;
  family.group_rule = GroupRule::kTop2Sum;
  family.renorm = {{"norm_topk_prob"}, 1.0};
  family.scale = {{"routed_scaling_factor"}, 1.0};
  family.groups = {{"n_group"}, 1.0, 1.0};
  family.kept_groups = {{"topk_group"}, 1.0, 1.0};
  family.shared_count = {{"n_shared_experts"}, 1.0};
  family.layer_rule.first = {{"first_k_dense_replace"}, 0.0, 0.0};
  return family;
}

}  // namespace moekit
