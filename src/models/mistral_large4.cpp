// SPDX-License-Identifier: Apache-2.0
// Mistral Large 4: the router of Mistral 4 in float32, always renormalised. The block's tensors lie beside others of
// the layer.
#include "models/family.h"

namespace moekit {

Family mistral4();

Family mistral_large4() {
  Family family = mistral4();
  family.name = "mistral_large4";
  family.aliases = {"mistral_large4_text"};
  family.router.matmul = family.router.score_in = Precision::kFloat32;
  family.renorm = {{}, 1.0};
  family.known_values = {{"norm_topk_prob", {true}}};
  family.layer_rule.first.absent = 1.0;
  family.layer_rule.type_list = "mlp_layer_types";
  family.irrelevant = {"index_topk"};
  family.block_prefixes = {"mlp.", ""};
  family.parts = {"experts.", "gate.", "shared_experts."};
  family.projections = {{"w1", "w3", "w2"}, {"gate_proj", "up_proj", "down_proj"}};
  return family;
}

}  // namespace moekit
