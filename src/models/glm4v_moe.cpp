// SPDX-License-Identifier: Apache-2.0
// GLM-4.5V: the block of GLM-4.5.
#include "models/family.h"

namespace moekit {

Family glm4_moe();

Family glm4v_moe() {
  Family family = glm4_moe();
  family.name = "glm4v_moe";
  family.aliases = {"glm4v_moe_text"};
  return family;
}

}  // namespace moekit
