// SPDX-License-Identifier: Apache-2.0
// Beam: the router of DeepSeek-V3; the scale multiplies the sum of the experts, and there is no shared expert.
#include "models/family.h"

namespace moekit {

Family beam() {
  Family family = deepseek_v3();
  family.name = "beam";
  family.router.scale_at = ScaleAt::kOnRoutedSum;
  family.shared_count = {{}, 0.0};
  family.groups = {{"n_group"}, {}};
  family.kept_groups = {{"topk_group"}, {}};
  family.layer_rule = every_layer();
  family.layer_rule.first = {{}, 3.0};
  family.layer_rule.type_list = "mlp_layer_types";
  return family;
}

}  // namespace moekit
