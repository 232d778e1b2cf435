// SPDX-License-Identifier: Apache-2.0
// LongCat-Flash: logits in float32, softmax over experts and identity experts, a bias for selection only, scaled.
#include "models/family.h"

namespace moekit {

Family longcat_flash() {
  Family family;
  family.name = "longcat_flash";
  family.router.matmul = Precision::kFloat32;
  family.router.score = Score::kSoftmax;
  family.layers = {{"num_layers", "num_hidden_layers"}, {}};
  family.identity = {{"zero_expert_num"}, 0.0, 0.0};
  family.top_k = {{"moe_topk", "num_experts_per_tok"}, {}};
  family.intermediate = {{"expert_ffn_hidden_size", "moe_intermediate_size"}, {}};
  family.scale = {{"routed_scaling_factor"}, 6.0};
  family.known_values = {{"router_bias", {false}}, {"zero_expert_type", {"identity"}}, {"norm_topk_prob", {false}}};
  family.router_weight = {"router.classifier.weight"};
  family.selection_bias = {"router.e_score_correction_bias"};
  return family;
}

}  // namespace moekit
