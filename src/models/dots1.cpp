// SPDX-License-Identifier: Apache-2.0
// dots.llm1: the block of DeepSeek-V3 with one group, no dense layers and no renormalisation by default.
#include "models/family.h"

namespace moekit {

Family dots1() {
  Family family = deepseek_v3();
  family.name = "dots1";
  family.renorm.absent = 0.0;
  family.scale.absent = 1.0;
  family.groups = {{"n_group"}, 1.0, 1.0};
  family.kept_groups = {{"topk_group"}, 1.0, 1.0};
  family.shared_count.absent = 0.0;
  family.layer_rule.first.absent = 0.0;
  return family;
}

}  // namespace moekit
