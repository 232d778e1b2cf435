// SPDX-License-Identifier: Apache-2.0
// Llama 4: top-k of native logits; the sigmoid of a chosen logit multiplies the expert's input. A shared expert of the
// same size.
#include "models/family.h"

namespace moekit {

Family llama4() {
  Family family;
  family.name = "llama4";
  family.aliases = {"llama4_text"};
  family.router.score = Score::kSigmoid;
  family.router.select_on = SelectOn::kLogit;
  family.router.out = Precision::kNative;
  family.router.apply_at = ApplyAt::kInput;
  family.intermediate = {{"intermediate_size"}, {}};
  family.shared_count = {{}, 1.0};
  family.layer_rule.step = {{"interleave_moe_layer_step"}, 1.0};
  family.layer_rule.phase = 1;
  family.layer_rule.sparse_list = "moe_layers";
  family.block_prefixes = {"feed_forward."};
  family.router_weight = {"router.weight"};
  family.stacked = Stacked::kTransposed;
  return family;
}

}  // namespace moekit
