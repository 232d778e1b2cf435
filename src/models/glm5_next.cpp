// SPDX-License-Identifier: Apache-2.0
// GLM-5 Next: the router of DeepSeek-V3, gate and up of all experts clamped.
#include "models/family.h"

namespace moekit {

Family glm5_next() {
  Family family = deepseek_v3();
  family.name = "glm5_next";
  family.aliases = {"glm5_next_text"};
  family.expert.act = Activation::kSiluClamp;
  family.limit = {{"swiglu_limit"}, {}};
  family.activation = {};
  family.known_values.push_back({"hidden_act", {"silu"}});
  family.layer_rule.type_list = "mlp_layer_types";
  family.irrelevant = {"index_topk"};
  return family;
}

}  // namespace moekit
