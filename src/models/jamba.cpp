// SPDX-License-Identifier: Apache-2.0
// Jamba: softmax in float32, top-k, never renormalised, weights cast back.
#include "models/family.h"

namespace moekit {

Family jamba() {
  Family family;
  family.name = "jamba";
  family.router.score = Score::kSoftmax;
  family.router.out = Precision::kNative;
  family.intermediate = {{"intermediate_size"}, {}};
  family.layer_rule.step = {{"expert_layer_period"}, 2.0};
  family.layer_rule.offset = {{"expert_layer_offset"}, 1.0};
  family.block_prefixes = {"feed_forward."};
  family.router_weight = {"router.weight"};
  return family;
}

}  // namespace moekit
