// SPDX-License-Identifier: Apache-2.0
// HunYuan-MoE: logits in float32, softmax, always renormalised without eps; a shared expert of the same size. Some
// fields are lists with a value for each layer.
#include "models/family.h"

namespace moekit {

Family hunyuan_v1_moe() {
  Family family;
  family.name = "hunyuan_v1_moe";
  family.router.matmul = Precision::kFloat32;
  family.router.score = Score::kSoftmax;
  family.experts = {{"num_experts", "num_local_experts"}, {}, {}, true};
  family.top_k = {{"moe_topk"}, {}, {}, true};
  family.intermediate = {{"intermediate_size"}, {}};
  family.renorm = {{}, 1.0};
  family.shared_count = {{}, 1.0};
  family.known_values = {{"use_mixed_mlp_moe", {true}}, {"norm_topk_prob", {true}}, {"moe_layer_num_skipped", {0}}};
  // The shapes of the tensors are checked against intermediate_size.
  family.irrelevant = {"moe_intermediate_size", "num_shared_expert", "moe_drop_tokens",
                       "moe_random_routing_dropped_token"};
  family.router_weight = {"gate.wg.weight"};
  family.shared_prefixes = {"shared_mlp."};
  return family;
}

}  // namespace moekit
