// SPDX-License-Identifier: Apache-2.0
// Laguna: native logits with an optional soft cap, sigmoid, a bias for selection only, renormalised without eps and
// cast back; the scale multiplies the sum of the experts.
#include "models/family.h"

namespace moekit {

Family laguna() {
  Family family;
  family.name = "laguna";
  family.router.score = Score::kSigmoid;
  family.router.out = Precision::kNative;
  family.router.scale_at = ScaleAt::kOnRoutedSum;
  family.renorm = {{}, 1.0};
  family.scale = {{"moe_routed_scaling_factor"}, 1.0};
  family.softcap = {{"moe_router_logit_softcapping"}, 0.0};
  family.shared_intermediate = {{"shared_expert_intermediate_size"}, {}};
  family.layer_rule.first = {{}, 1.0};
  family.layer_rule.type_list = "mlp_layer_types";
  family.known_values = {{"moe_apply_router_weight_on_input", {false}}, {"norm_topk_prob", {true}}};
  family.selection_bias = {"experts.e_score_correction_bias", "gate.e_score_correction_bias"};
  return family;
}

}  // namespace moekit
