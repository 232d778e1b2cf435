// SPDX-License-Identifier: Apache-2.0
// Qwen3.5-MoE: the block of Qwen2-MoE in every layer, always renormalised. Published with stacked experts.
#include "models/family.h"

namespace moekit {

Family qwen2_moe();

Family qwen3_5_moe() {
  Family family = qwen2_moe();
  family.name = "qwen3_5_moe";
  family.aliases = {"qwen3_5_moe_text"};
  family.renorm = {{}, 1.0};
  family.known_values = {{"norm_topk_prob", {true}}};
  family.layer_rule = every_layer();
  family.stacked = Stacked::kByShape;
  return family;
}

}  // namespace moekit
