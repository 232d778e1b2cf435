// SPDX-License-Identifier: Apache-2.0
// Ling and Ring (Bailing): the block of DeepSeek-V3 under names of its own. It was compared with the class of
// bailing_hybrid; transformers has none for bailing_moe_v2 (2.0), whose routing was compared with the formula in NumPy.
#include "models/family.h"

namespace moekit {

Family bailing_hybrid() {
  Family family = deepseek_v3();
  family.name = "bailing_hybrid";
  family.aliases = {"bailing_moe_v2"};
  family.top_k = {{"num_experts_per_token", "num_experts_per_tok"}, {}};
  family.renorm = {{"moe_renormalize", "norm_topk_prob"}, 1.0};
  family.groups = {{"num_expert_group", "n_group"}, 8.0};
  family.kept_groups = {{"topk_group"}, 4.0};
  family.shared_count = {{"num_shared_experts", "n_shared_experts"}, 1.0};
  family.layer_rule.first = {{"first_k_dense_replace"}, {}};
  family.layer_rule.type_list = "mlp_layer_types";
  family.known_values = {{"score_function", {"sigmoid"}},
                         {"scoring_func", {"sigmoid"}},
                         {"moe_router_enable_expert_bias", {true}},
                         {"use_expert_bias", {true}}};
  family.irrelevant = {"layer_group_size", "router_dtype"};
  family.selection_bias = {"gate.expert_bias", "gate.e_score_correction_bias"};
  return family;
}

}  // namespace moekit
