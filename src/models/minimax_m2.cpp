// SPDX-License-Identifier: Apache-2.0
// MiniMax-M2: native logits, sigmoid in float32, a bias for selection only, no groups, renormalised without eps.
#include "models/family.h"

namespace moekit {

Family minimax_m2() {
  Family family;
  family.name = "minimax_m2";
  family.router.score = Score::kSigmoid;
  family.renorm = {{}, 1.0};
  family.intermediate = {{"intermediate_size"}, {}};
  family.known_values = {{"scoring_func", {"sigmoid"}}, {"use_routing_bias", {true}}};
  family.block_prefixes = {"block_sparse_moe.", "mlp."};
  family.selection_bias = {"e_score_correction_bias"};
  family.projections = {{"w1", "w3", "w2"}, {"gate_proj", "up_proj", "down_proj"}};
  return family;
}

}  // namespace moekit
