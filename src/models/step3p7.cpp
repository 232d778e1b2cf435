// SPDX-License-Identifier: Apache-2.0
// Step-3.7: the router of MiniMax-M2; the scale multiplies the sum of the experts. Some layers clamp silu(gate) and
// up, the shared expert by a limit of its own. Published with each projection stacked by itself.
#include "models/family.h"

namespace moekit {

Family minimax_m2();

Family step3p7() {
  Family family = minimax_m2();
  family.name = "step3p7";
  family.aliases = {"step3p5"};
  family.router.scale_at = ScaleAt::kOnRoutedSum;
  family.expert.act = Activation::kSwigluStep;
  family.activation = {};
  family.limit_list = "swiglu_limits";
  family.shared_limit_list = "swiglu_limits_shared";
  family.top_k = {{"num_experts_per_tok", "moe_top_k"}, {}};
  family.intermediate = {{"moe_intermediate_size"}, {}};
  family.scale = {{"moe_router_scaling_factor"}, 1.0};
  family.shared_intermediate = {{"share_expert_dim", "share_expert_dims"}, {}};
  family.layer_rule.type_list = "mlp_layer_types";
  family.layer_rule.sparse_list = "moe_layers_enum";
  family.known_values = {{"hidden_act", {"silu"}},
                         {"mlp_bias", {false}},
                         {"use_moe", {true}},
                         {"use_moe_router_bias", {true}},
                         {"norm_expert_weight", {true}},
                         {"moe_every_n_layer", {1}},
                         {"moe_router_activation", {"sigmoid"}}};
  family.block_prefixes = {"", "mlp."};
  family.parts = {"moe.", "share_expert."};
  family.router_weight = {"moe.gate.weight", "gate.weight"};
  family.selection_bias = {"moe.router_bias", "gate.e_score_correction_bias"};
  family.projections = {{"gate_proj", "up_proj", "down_proj"}};
  family.separate_names = {{"moe.gate_proj.weight", "moe.up_proj.weight", "moe.down_proj.weight"}};
  family.shared_prefixes = {"share_expert.", "shared_experts."};
  return family;
}

}  // namespace moekit
