// SPDX-License-Identifier: Apache-2.0
// Solar Open: the block of DeepSeek-V3 with one group by default, in every layer.
#include "models/family.h"

namespace moekit {

Family solar_open() {
  Family family = deepseek_v3();
  family.name = "solar_open";
  family.scale.absent = 1.0;
  family.groups = {{"n_group"}, 1.0, 1.0};
  family.kept_groups = {{"topk_group"}, 1.0, 1.0};
  family.layer_rule = every_layer();
  return family;
}

}  // namespace moekit
