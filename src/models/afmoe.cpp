// SPDX-License-Identifier: Apache-2.0
// AFMoE (Trinity): native logits, sigmoid in float32, a bias for selection only, always renormalised, scaled.
#include "models/family.h"

namespace moekit {

Family afmoe() {
  Family family;
  family.name = "afmoe";
  family.router.score = Score::kSigmoid;
  family.router.eps = 1e-20;
  family.renorm = {{}, 1.0};
  family.scale = {{"route_scale"}, 1.0};
  family.shared_count = {{"num_shared_experts"}, 2.0, 0.0};
  family.layer_rule.first = {{"num_dense_layers"}, 1.0};
  family.known_values = {{"score_func", {"sigmoid"}}, {"route_norm", {true}},     {"n_group", {1}},
                         {"topk_group", {1}},         {"num_expert_groups", {1}}, {"num_limited_groups", {1}}};
  family.router_weight = {"router.gate.weight"};
  family.selection_bias = {"expert_bias"};
  return family;
}

}  // namespace moekit
