// SPDX-License-Identifier: Apache-2.0
// Cohere2-MoE: top-k of native logits, then softmax over the chosen ones or their sigmoid; the shared experts, stored
// as one, are added or averaged with the routed ones.
#include "models/family.h"

namespace moekit {

Family cohere2_moe() {
  Family family;
  family.name = "cohere2_moe";
  family.router.score = Score::kSoftmaxTopk;
  family.router.select_on = SelectOn::kLogit;
  family.router.out = Precision::kNative;
  family.score_choice = {"expert_selection_fn", {{"softmax", Score::kSoftmaxTopk}, {"sigmoid", Score::kSigmoid}}};
  family.shared_gate = SharedGate::kAverage;
  family.shared_gate_choice = {"shared_expert_combination_strategy",
                               {{"average", SharedGate::kAverage}, {"sum", SharedGate::kAdd}}};
  family.renorm = {{"norm_topk_prob"}, 1.0};
  family.intermediate = {{"intermediate_size"}, {}};
  family.shared_count = {{"num_shared_experts"}, 0.0};
  family.layer_rule.first = {{"first_k_dense_replace"}, 0.0};
  family.layer_rule.type_list = "mlp_layer_types";
  return family;
}

}  // namespace moekit
