// SPDX-License-Identifier: Apache-2.0
// GLM with sparse attention: the block of DeepSeek-V3 with one group by default.
#include "models/family.h"

namespace moekit {

Family deepseek_v32();

Family glm_moe_dsa() {
  Family family = deepseek_v32();
  family.name = "glm_moe_dsa";
  family.groups = {{"n_group"}, 1.0, 1.0};
  family.kept_groups = {{"topk_group"}, 1.0, 1.0};
  return family;
}

}  // namespace moekit
