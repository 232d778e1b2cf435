// SPDX-License-Identifier: Apache-2.0
// JetMoE: the router of Granite-MoE. The block adds one bias to its output; weights sum to 1, so it is the bias of
// every expert's down projection.
#include "models/family.h"

namespace moekit {

Family granitemoe();

Family jetmoe() {
  Family family = granitemoe();
  family.name = "jetmoe";
  family.activation = {"activation_function"};
  family.expert.down_bias = true;
  family.down_bias_for_all = "bias";
  family.block_prefixes = {"mlp."};
  return family;
}

}  // namespace moekit
