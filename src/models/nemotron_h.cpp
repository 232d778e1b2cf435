// SPDX-License-Identifier: Apache-2.0
// Nemotron-H: the router of DeepSeek-V3, ungated experts relu(x)^2. The form with latent projections is not supported.
#include "models/family.h"

namespace moekit {

Family nemotron_h() {
  Family family = deepseek_v3();
  family.name = "nemotron_h";
  family.expert.act = Activation::kRelu2;
  family.activation = {"mlp_hidden_act"};
  family.groups = {{"n_group"}, 1.0, 1.0};
  family.kept_groups = {{"topk_group"}, 1.0, 1.0};
  family.scale.absent = 1.0;
  family.shared_count = {{}, 0.0};
  family.shared_intermediate = {{"moe_shared_expert_intermediate_size"}, {}};
  family.layer_rule = every_layer();
  family.layer_rule.type_list = "layers_block_type";
  family.layer_rule.sparse_types = {"moe"};
  family.layer_rule.dense_types = {"mamba", "attention", "full_attention", "mlp"};
  family.layer_rule.pattern = "hybrid_override_pattern";
  family.known_values.push_back({"moe_latent_size", {}});
  family.known_values.push_back({"mlp_bias", {false}});
  family.known_values.push_back({"n_shared_experts", {1}});
  family.irrelevant = {"moe_shared_expert_overlap"};
  family.layer_prefixes = {"backbone.layers.", "model.layers."};
  family.block_prefixes = {"mixer."};
  family.stacked_names = {{"experts.up_proj", "experts.down_proj"}};
  return family;
}

}  // namespace moekit
