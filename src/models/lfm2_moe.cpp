// SPDX-License-Identifier: Apache-2.0
// LFM2-MoE: native sigmoid, an optional bias for selection only, renormalised with eps and scaled.
#include "models/family.h"

namespace moekit {

Family lfm2_moe() {
  Family family;
  family.name = "lfm2_moe";
  family.router.score = Score::kSigmoid;
  family.router.score_in = family.router.out = Precision::kNative;
  family.router.eps = 1e-6;
  family.renorm = {{"norm_topk_prob"}, 1.0};
  family.scale = {{"routed_scaling_factor"}, 1.0};
  family.has_selection_bias = {{"use_expert_bias"}, 1.0};
  family.activation = {};
  family.layer_rule.first = {{"num_dense_layers"}, 2.0};
  family.block_prefixes = {"feed_forward."};
  family.selection_bias = {"expert_bias"};
  family.projections = {{"w1", "w3", "w2"}, {"gate_proj", "up_proj", "down_proj"}};
  return family;
}

}  // namespace moekit
