// SPDX-License-Identifier: Apache-2.0
// Kimi Linear: the block of DeepSeek-V3 under names of its own, one group and no scale by default.
#include "models/family.h"

namespace moekit {

Family kimi_linear() {
  Family family = deepseek_v3();
  family.name = "kimi_linear";
  family.experts = {{"num_experts", "num_local_experts", "n_routed_experts"}, {}};
  family.top_k = {{"num_experts_per_token", "num_experts_per_tok"}, 8.0};
  family.renorm = {{"moe_renormalize", "norm_topk_prob"}, 1.0};
  family.scale = {{"routed_scaling_factor"}, 2.446};
  family.groups = {{"num_expert_group", "n_group"}, 1.0, 1.0};
  family.kept_groups = {{"topk_group"}, 1.0, 1.0};
  family.shared_count = {{"num_shared_experts", "n_shared_experts"}, 1.0};
  family.layer_rule.first.absent = 1.0;
  family.layer_rule.type_list = "mlp_layer_types";
  family.known_values = {{"moe_router_activation_func", {"sigmoid"}}, {"use_grouped_topk", {true}}};
  family.block_prefixes = {"block_sparse_moe.", "mlp."};
  family.projections = {{"w1", "w3", "w2"}, {"gate_proj", "up_proj", "down_proj"}};
  return family;
}

}  // namespace moekit
