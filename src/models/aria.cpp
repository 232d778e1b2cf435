// SPDX-License-Identifier: Apache-2.0
// Aria: top-k of native logits, softmax over the chosen ones; experts stacked as [E, in, out].
#include "models/family.h"

namespace moekit {

Family aria() {
  Family family;
  family.name = "aria";
  family.aliases = {"aria_text"};
  family.router.score = Score::kSoftmaxTopk;
  family.router.score_in = family.router.out = Precision::kNative;
  family.top_k = {{"moe_topk"}, {}};
  family.intermediate = {{"intermediate_size", "moe_intermediate_size"}, {}};
  family.shared_count = {{"moe_num_shared_experts"}, 2.0};
  family.known_values = {{"hidden_act", {"silu"}}, {"mlp_bias", {false}}};
  family.irrelevant = {"moe_z_loss_coeff", "moe_aux_loss_coeff"};
  family.router_weight = {"router.weight"};
  family.stacked_names = {{"experts.fc1.weight", "experts.fc2.weight"}, {"experts.gate_up_proj", "experts.down_proj"}};
  family.stacked = Stacked::kTransposed;
  return family;
}

}  // namespace moekit
