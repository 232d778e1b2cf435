// SPDX-License-Identifier: Apache-2.0
// Kolibri: logits in float32; a bias on the logits selects, the weights are their sigmoid. The bias lies beside the
// block in the layer.
#include "models/family.h"

namespace moekit {

Family kolibri1() {
  Family family;
  family.name = "kolibri1";
  family.router.matmul = Precision::kFloat32;
  family.router.score = Score::kSigmoid;
  family.router.select_on = SelectOn::kLogit;
  family.renorm = {{"norm_topk_prob"}, 0.0};
  family.shared_intermediate = {{"shared_expert_intermediate_size"}, {}};
  family.layer_rule.type_list = "mlp_layer_types";
  family.block_prefixes = {""};
  family.parts = {"mlp.", "moe."};
  family.router_weight = {"mlp.gate.weight"};
  family.selection_bias = {"moe.router.expert_bias", "mlp.gate.e_score_correction_bias"};
  family.experts_prefixes = {"mlp.experts."};
  family.stacked_names = {{"mlp.experts.gate_up_proj", "mlp.experts.down_proj"}};
  family.shared_prefixes = {"mlp.shared_experts."};
  return family;
}

}  // namespace moekit
