// SPDX-License-Identifier: Apache-2.0
// MiMo-V2-Flash: the router of DeepSeek-V3, no shared expert.
#include "models/family.h"

namespace moekit {

Family mimo_v2_flash() {
  Family family = deepseek_v3();
  family.name = "mimo_v2_flash";
  family.groups = {{"n_group"}, 1.0, 1.0};
  family.kept_groups = {{"topk_group"}, 1.0, 1.0};
  family.scale = {{"routed_scaling_factor"}, 1.0, 1.0};
  family.shared_count = {{}, 0.0};
  family.layer_rule.first = {{"first_k_dense_replace"}, 0.0, 0.0};
  family.layer_rule.type_list = "mlp_layer_types";
  family.irrelevant = {"n_shared_experts"};  // the class builds none, and one in the file would be an unexpected tensor
  return family;
}

}  // namespace moekit
