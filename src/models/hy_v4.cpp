// SPDX-License-Identifier: Apache-2.0
// HY-V4: the router of DeepSeek-V3; gate and up of the routed experts are clamped, of the shared one not.
#include "models/family.h"

namespace moekit {

Family hy_v4() {
  Family family = deepseek_v3();
  family.name = "hy_v4";
  family.expert.act = Activation::kSiluClamp;
  family.shared_act = Activation::kSilu;
  family.limit = {{"swiglu_limit"}, {}};
  family.activation = {};
  family.known_values.push_back({"hidden_act", {"silu"}});
  family.layer_rule.type_list = "mlp_layer_types";
  family.irrelevant = {"index_topk"};
  family.projections = {{"gate_proj", "up_proj", "down_proj"}, {"linear_gate", "up_proj", "down_proj"}};
  return family;
}

}  // namespace moekit
