// SPDX-License-Identifier: Apache-2.0
// OLMoE: the router of Qwen3-MoE in every layer; the experts' size has the name of a dense one.
#include "models/family.h"

namespace moekit {

Family olmoe() {
  Family family = qwen3_moe();
  family.name = "olmoe";
  family.intermediate = {{"intermediate_size"}, {}};
  family.layer_rule = every_layer();
  return family;
}

}  // namespace moekit
