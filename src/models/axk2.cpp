// SPDX-License-Identifier: Apache-2.0
// A.X-K2: the block of DeepSeek-V3 with masked scores 0 instead of -inf, and no groups when n_group is null.
#include "models/family.h"

namespace moekit {

Family axk2() {
  Family family = deepseek_v3();
  family.name = "axk2";
  family.router.mask_fill = 0.0;
  family.groups = {{"n_group"}, {}, 1.0};
  family.kept_groups = {{"topk_group"}, {}, 1.0};
  family.layer_rule.type_list = "mlp_layer_types";
  family.irrelevant = {"index_topk"};
  return family;
}

}  // namespace moekit
