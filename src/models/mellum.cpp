// SPDX-License-Identifier: Apache-2.0
// Mellum: the router of Qwen3-MoE; a list says which layers have experts.
#include "models/family.h"

namespace moekit {

Family mellum() {
  Family family = qwen3_moe();
  family.name = "mellum";
  family.renorm.absent = 1.0;
  family.layer_rule = every_layer();
  family.layer_rule.type_list = "mlp_layer_types";
  family.irrelevant = {"mtp_mlp_layer_types"};
  return family;
}

}  // namespace moekit
