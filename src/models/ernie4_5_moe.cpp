// SPDX-License-Identifier: Apache-2.0
// ERNIE 4.5: logits in float32, softmax, a bias for selection only, w / max(sum, moe_norm_min), weights cast back.
#include "models/family.h"

namespace moekit {

Family ernie4_5_moe() {
  Family family;
  family.name = "ernie4_5_moe";
  family.router.matmul = Precision::kFloat32;
  family.router.score = Score::kSoftmax;
  family.router.out = Precision::kNative;
  family.renorm_rule = Renorm::kClampMin;
  family.renorm = {{}, 1.0};
  family.eps = {{"moe_norm_min"}, 1e-12};
  family.top_k = {{"moe_k", "num_experts_per_tok"}, {}};
  family.shared_count = {{"moe_num_shared_experts"}, 2.0, 0.0};
  family.layer_rule.first = {{"moe_layer_start_index"}, 1.0, 0.0};
  family.layer_rule.last = {{"moe_layer_end_index"}, -1.0, -1.0};
  family.layer_rule.step = {{"moe_layer_interval"}, 1.0, 1.0};
  family.layer_rule.phase = 1;
  family.known_values = {{"use_bias", {false}}, {"moe_use_aux_free", {true}}};
  family.irrelevant = {"moe_capacity"};
  family.selection_bias = {"moe_statics.e_score_correction_bias", "gate.moe_statics.e_score_correction_bias"};
  return family;
}

}  // namespace moekit
