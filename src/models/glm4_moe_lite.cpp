// SPDX-License-Identifier: Apache-2.0
// GLM-4.7-Flash: the block of GLM-4.5; config.json may list the kind of each layer.
#include "models/family.h"

namespace moekit {

Family glm4_moe();

Family glm4_moe_lite() {
  Family family = glm4_moe();
  family.name = "glm4_moe_lite";
  family.layer_rule.type_list = "mlp_layer_types";
  return family;
}

}  // namespace moekit
