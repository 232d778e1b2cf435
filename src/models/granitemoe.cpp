// SPDX-License-Identifier: Apache-2.0
// Granite-MoE: top-k of the logits, then softmax over the chosen ones in float32, cast back.
#include "models/family.h"

namespace moekit {

Family granitemoe() {
  Family family;
  family.name = "granitemoe";
  family.router.score = Score::kSoftmaxTopk;
  family.router.out = Precision::kNative;
  family.intermediate = {{"intermediate_size"}, {}};
  family.block_prefixes = {"block_sparse_moe."};
  family.router_weight = {"router.layer.weight", "router.weight"};
  family.stacked_names = {{"input_linear.weight", "output_linear.weight"},
                          {"experts.gate_up_proj", "experts.down_proj"}};
  return family;
}

}  // namespace moekit
