// SPDX-License-Identifier: Apache-2.0
// EXAONE-MoE: the block of DeepSeek-V3 with one group by default; the bias was published beside the router.
#include "models/family.h"

namespace moekit {

Family exaone_moe() {
  Family family = deepseek_v3();
  family.name = "exaone_moe";
  family.groups = {{"n_group"}, 1.0, 1.0};
  family.kept_groups = {{"topk_group"}, 1.0, 1.0};
  family.shared_count = {{"num_shared_experts"}, 1.0, 0.0};
  family.layer_rule.first.absent = 1.0;
  family.layer_rule.type_list = "mlp_layer_types";
  family.selection_bias = {"e_score_correction_bias", "gate.e_score_correction_bias"};
  return family;
}

}  // namespace moekit
