// SPDX-License-Identifier: Apache-2.0
// DBRX: native softmax, weights divided by their p-norm. Each projection of all experts is one matrix [E * I, H].
#include "models/family.h"

namespace moekit {

Family dbrx() {
  Family family;
  family.name = "dbrx";
  family.router.score = Score::kSoftmax;
  family.router.score_in = family.router.out = Precision::kNative;
  family.renorm_rule = Renorm::kPnorm;
  family.renorm = {{}, 1.0};
  family.p = {{"ffn_config.moe_normalize_expert_weights"}, 1.0};
  family.hidden = {{"d_model"}, {}};
  family.layers = {{"n_layers"}, {}};
  family.experts = {{"ffn_config.moe_num_experts"}, 4.0};
  family.top_k = {{"ffn_config.moe_top_k"}, 1.0};
  family.intermediate = {{"ffn_config.ffn_hidden_size"}, 3584.0};
  family.activation = {"ffn_config.ffn_act_fn.name"};
  family.nested = "ffn_config";
  family.irrelevant = {"ffn_config.moe_jitter_eps", "ffn_config.moe_loss_weight",
                       "ffn_config.uniform_expert_assignment"};
  family.layer_prefixes = {"transformer.blocks."};
  family.block_prefixes = {"ffn."};
  family.router_weight = {"router.layer.weight"};
  family.separate_names = {{"experts.mlp.w1", "experts.mlp.v1", "experts.mlp.w2", true}};
  return family;
}

}  // namespace moekit
