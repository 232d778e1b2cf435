// SPDX-License-Identifier: Apache-2.0
// DeepSeek-V3.2: the block of DeepSeek-V3; config.json may list the kind of each layer.
#include "models/family.h"

namespace moekit {

Family deepseek_v32() {
  Family family = deepseek_v3();
  family.name = "deepseek_v32";
  family.layer_rule.type_list = "mlp_layer_types";
  family.irrelevant = {"index_topk"};
  return family;
}

}  // namespace moekit
