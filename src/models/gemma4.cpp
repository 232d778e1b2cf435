// SPDX-License-Identifier: Apache-2.0
// Gemma 4: RMS norm, scale and hidden^-1/2 before the router, softmax in float32, renormalised, then a scale for each
// expert. The block's input is the output of pre_feedforward_layernorm_2, n(x) * w: the router of the model reads the
// same n(x), so its scale is divided by w and the norm falls away.
#include "models/family.h"

namespace moekit {

Family gemma4() {
  Family family;
  family.name = "gemma4";
  family.aliases = {"gemma4_text"};
  family.router.score = Score::kSoftmax;
  family.renorm = {{}, 1.0};
  family.in_mult_by_hidden = true;
  family.top_k = {{"top_k_experts"}, {}};
  family.activation = {"hidden_activation"};
  family.known_values = {{"enable_moe_block", {true}}};
  family.block_prefixes = {""};
  family.parts = {"experts.", "router."};
  family.router_weight = {"router.proj.weight"};
  family.in_scale = {"router.scale"};
  family.in_scale_divisor = "pre_feedforward_layernorm_2.weight";
  family.per_expert_scale = {"router.per_expert_scale"};
  return family;
}

}  // namespace moekit
