// SPDX-License-Identifier: Apache-2.0
// ERNIE 4.5 VL: the router of ERNIE 4.5 twice, with experts for text tokens and smaller ones for those of images and
// video. Published configurations give sizes as [text, vision], and names of training's implementations.
#include "models/family.h"

namespace moekit {

Family ernie4_5_vl_moe() {
  Family family = ernie4_5_moe();
  family.name = "ernie4_5_vl_moe";
  family.aliases = {"ernie4_5_vl_moe_text", "ernie4_5_moe_vl"};
  const char* bias = "moe_statics.e_score_correction_bias";
  family.sets = {{"text_moe", "gate.weight", bias}, {"vision_moe", "gate.weight_1", bias}};
  family.selection_bias = {"gate.moe_statics.e_score_correction_bias"};
  for (Field* field : {&family.experts, &family.intermediate, &family.layer_rule.first, &family.layer_rule.last})
    field->per_set = true;
  family.layer_rule.type_list = "mlp_layer_types";
  family.known_values.insert(
      family.known_values.end(),
      {{"moe_gate_act", {"softmax"}}, {"moe_norm_gate_logits", {true}}, {"moe_use_hard_gate", {true}}});
  family.irrelevant = {"moe_capacity",
                       "moe_gate",
                       "moe_group",
                       "moe_group_orthogonal_loss",
                       "moe_aux_loss_lambda",
                       "moe_z_loss_lambda",
                       "moe_orthogonal_loss_lambda",
                       "moe_dense_experts_token_type_id",
                       "moe_multimodal_dispatch_use_allgather"};
  return family;
}

}  // namespace moekit
