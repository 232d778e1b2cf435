// SPDX-License-Identifier: Apache-2.0
// Mixtral: softmax in float32, top-k, always renormalised, weights stay float32.
#include "models/family.h"

namespace moekit {

Family mixtral() {
  Family family;
  family.name = "mixtral";
  family.router.score = Score::kSoftmax;
  family.renorm = {{}, 1.0};
  family.intermediate = {{"intermediate_size"}, {}};
  family.block_prefixes = {"block_sparse_moe.", "mlp."};
  family.projections = {{"w1", "w3", "w2"}, {"gate_proj", "up_proj", "down_proj"}};
  return family;
}

}  // namespace moekit
