// SPDX-License-Identifier: Apache-2.0
// Flint: logits in float32, sigmoid, no bias, renormalised without eps; a shared expert is added in full.
#include "models/family.h"

namespace moekit {

Family flint() {
  Family family;
  family.name = "flint";
  family.router.matmul = Precision::kFloat32;
  family.router.score = Score::kSigmoid;
  family.renorm = {{"norm_topk_prob"}, 1.0};
  family.shared_intermediate = {{"shared_expert_intermediate_size"}, {}};
  family.layer_rule.dense_list = "mlp_only_layers";
  return family;
}

}  // namespace moekit
