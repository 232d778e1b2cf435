// SPDX-License-Identifier: Apache-2.0
// HY-V3: the router of DeepSeek-V3 without groups, always renormalised.
#include "models/family.h"

namespace moekit {

Family hy_v3() {
  Family family = deepseek_v3();
  family.name = "hy_v3";
  family.group_rule = GroupRule::kNone;
  family.groups = family.kept_groups = {{}, 1.0};
  family.renorm = {{}, 1.0};
  family.scale = {{"router_scaling_factor"}, 2.826};
  family.shared_count = {{"num_shared_experts"}, 1.0, 0.0};
  family.layer_rule.first.absent = 1.0;
  family.layer_rule.type_list = "mlp_layer_types";
  family.known_values = {};
  // Sums are float32 here whatever it says.
  family.irrelevant = {"enable_moe_fp32_combine"};
  family.router_weight = {"router.gate.weight", "gate.weight"};
  family.selection_bias = {"expert_bias", "e_score_correction_bias"};
  family.shared_prefixes = {"shared_mlp.", "shared_experts."};
  return family;
}

}  // namespace moekit
