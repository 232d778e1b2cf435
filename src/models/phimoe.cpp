// SPDX-License-Identifier: Apache-2.0
// Phi-3.5-MoE: sparsemixer, whose threshold is the jitter of the training.
#include "models/family.h"

namespace moekit {

Family phimoe() {
  Family family;
  family.name = "phimoe";
  family.router.score = Score::kSparsemixer;
  family.router.score_in = family.router.out = Precision::kNative;
  family.sparsemixer_eps = {{"router_jitter_noise"}, 0.01};
  family.intermediate = {{"intermediate_size"}, {}};
  family.block_prefixes = {"block_sparse_moe.", "mlp."};
  family.router_weight = {"gate.weight", "router.weight"};
  family.projections = {{"w1", "w3", "w2"}, {"gate_proj", "up_proj", "down_proj"}};
  return family;
}

}  // namespace moekit
