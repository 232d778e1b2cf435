// SPDX-License-Identifier: Apache-2.0
// MiniMax-M3: the router of MiniMax-M2; the scale multiplies the sum of the experts. Gate and up follow one another.
#include "models/family.h"

namespace moekit {

Family minimax_m2();

Family minimax_m3() {
  Family family = minimax_m2();
  family.name = "minimax_m3";
  family.aliases = {"minimax_m3_vl", "minimax_m3_vl_text"};
  family.router.scale_at = ScaleAt::kOnRoutedSum;
  family.expert.act = Activation::kSwigluOai;
  family.limit = {{"swiglu_limit"}, 7.0};
  family.alpha = {{"swiglu_alpha"}, 1.702};
  family.activation = {};
  family.scale = {{"routed_scaling_factor"}, {}};
  family.shared_intermediate = {{"shared_intermediate_size"}, {}};
  family.layer_rule.step = {{"moe_layer_freq"}, 1.0};
  family.layer_rule.type_list = "mlp_layer_types";
  family.known_values.push_back({"hidden_act", {"silu", "swigluoai"}});
  family.known_values.push_back({"n_shared_experts", {1}});
  family.irrelevant = {"index_topk_blocks"};
  family.selection_bias = {"e_score_correction_bias", "gate.e_score_correction_bias"};
  family.shared_stacked_names = {{"gate_up_proj.weight", "down_proj.weight"}};
  return family;
}

}  // namespace moekit
