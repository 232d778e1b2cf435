// SPDX-License-Identifier: Apache-2.0
// Inkling: sigmoid in float32, a bias for selection only, and weights w / sum(w) over the chosen routed experts and the
// shared ones together, scaled by route_scale and a learned factor. Ids of the block are those of the routed experts,
// then of the shared ones. The published files alternate gate and up rows.
#include "models/family.h"

namespace moekit {

Family inkling() {
  Family family;
  family.name = "inkling";
  family.aliases = {"inkling_text", "inkling_mm_model"};
  family.router.matmul = Precision::kFloat32;
  family.router.score = Score::kSigmoid;
  family.router.out = Precision::kNative;
  family.renorm = {{}, 1.0};
  family.scale = {{"route_scale"}, 8.0};
  family.shared_count = {{"n_shared_experts"}, 2.0};
  family.joint_shared = true;
  family.layer_rule.type_list = "mlp_layer_types";
  family.layer_rule.first = {{"dense_mlp_idx"}, 0.0, 0.0};
  family.known_values = {{"shared_expert_sink", {true}}};
  family.irrelevant = {"rms_norm_eps_moe_gate"};  // of a norm that the class does not have
  family.layer_prefixes.push_back("model.llm.layers.");
  family.selection_bias = {"gate.bias", "gate.e_score_correction_bias"};
  family.weight_scale = {"gate.global_scale"};
  family.stacked_names = {{"experts.w13_weight", "experts.w2_weight", true},
                          {"experts.gate_up_proj", "experts.down_proj"}};
  family.joint_stacked_names = {{"shared_experts.shared_w13_weight", "shared_experts.shared_w2_weight", true}};
  family.joint_separate_names = {{"shared_experts.gate_proj", "shared_experts.up_proj", "shared_experts.down_proj"}};
  return family;
}

}  // namespace moekit
