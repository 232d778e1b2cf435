// SPDX-License-Identifier: Apache-2.0
// Qwen4-Exp: the block of Qwen2-MoE in every layer, stacked as in Qwen3.5-MoE.
#include "models/family.h"

namespace moekit {

Family qwen2_moe();

Family qwen4_exp() {
  Family family = qwen2_moe();
  family.name = "qwen4_exp";
  family.aliases = {"qwen4_exp_text"};
  family.layer_rule = every_layer();
  family.stacked = Stacked::kByShape;
  return family;
}

}  // namespace moekit
