// SPDX-License-Identifier: Apache-2.0
// GLM-4.5: the block of DeepSeek-V3 with one group by default.
#include "models/family.h"

namespace moekit {

Family glm4_moe() {
  Family family = deepseek_v3();
  family.name = "glm4_moe";
  family.scale.absent = 1.0;
  family.groups = {{"n_group"}, 1.0, 1.0};
  family.kept_groups = {{"topk_group"}, 1.0, 1.0};
  family.layer_rule.first.absent = 1.0;
  return family;
}

}  // namespace moekit
