// SPDX-License-Identifier: Apache-2.0
// Qwen3-Omni: the block of Qwen3-MoE in the text model of the thinker.
#include "models/family.h"

namespace moekit {

Family qwen3_omni_moe() {
  Family family = qwen3_moe();
  family.name = "qwen3_omni_moe";
  family.aliases = {"qwen3_omni_moe_thinker", "qwen3_omni_moe_text"};
  family.layer_prefixes.push_back("thinker.model.layers.");
  return family;
}

}  // namespace moekit
