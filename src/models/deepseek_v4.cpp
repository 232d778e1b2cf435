// SPDX-License-Identifier: Apache-2.0
// DeepSeek-V4: native logits, sqrt(softplus), a bias for selection only, renormalised and scaled; in the first layers
// a table of token ids chooses the experts. Gate and up are clamped.
#include "models/family.h"

namespace moekit {

Family deepseek_v4() {
  Family family;
  family.name = "deepseek_v4";
  family.router.score = Score::kSqrtSoftplus;
  family.router.eps = 1e-20;
  family.expert.act = Activation::kSiluClamp;
  family.limit = {{"swiglu_limit"}, 10.0};
  family.activation = {};
  family.renorm = {{}, 1.0};
  family.scale = {{"routed_scaling_factor"}, 1.5};
  family.shared_count = {{"n_shared_experts"}, 1.0};
  family.hash_layers = {{"num_hash_layers"}, 3.0};
  family.hash_type = "hash_moe";
  family.layer_rule.type_list = "mlp_layer_types";
  family.layer_rule.sparse_types = {"moe", "hash_moe"};
  family.layer_rule.dense_types = {};
  family.known_values = {{"scoring_func", {"sqrtsoftplus"}}, {"topk_method", {"noaux_tc"}}, {"norm_topk_prob", {true}},
                         {"hidden_act", {"silu"}},           {"mlp_bias", {false}},         {"n_shared_experts", {1}}};
  family.irrelevant = {"index_topk", "expert_dtype"};
  family.block_prefixes = {"ffn.", "mlp."};
  family.selection_bias = {"gate.bias", "gate.e_score_correction_bias"};
  family.projections = {{"w1", "w3", "w2"}, {"gate_proj", "up_proj", "down_proj"}};
  return family;
}

}  // namespace moekit
