// SPDX-License-Identifier: Apache-2.0
// Qwen3-VL-MoE: the block of Qwen3-MoE, always renormalised. Published with stacked experts, [E, in, out].
#include "models/family.h"

namespace moekit {

Family qwen3_vl_moe() {
  Family family = qwen3_moe();
  family.name = "qwen3_vl_moe";
  family.aliases = {"qwen3_vl_moe_text"};
  family.renorm = {{}, 1.0};
  family.known_values = {{"norm_topk_prob", {true}}};
  family.stacked = Stacked::kByShape;
  return family;
}

}  // namespace moekit
