// SPDX-License-Identifier: Apache-2.0
// dots.note: the router of DeepSeek-V3; the shared experts have a size of their own.
#include "models/family.h"

namespace moekit {

Family dots3_note() {
  Family family = deepseek_v3();
  family.name = "dots3_note";
  family.aliases = {"dots3_note_text"};
  family.shared_intermediate = {{"shared_experts_intermediate_size"}, {}};
  family.shared_sizes_multiply = true;
  family.layer_rule.type_list = "mlp_layer_types";
  family.irrelevant = {"index_topk"};
  return family;
}

}  // namespace moekit
