// SPDX-License-Identifier: Apache-2.0
// A.X-K1: the block of DeepSeek-V3. The norm of its output, post_mlp_layernorm, is the decoder layer's, as in the
// published checkpoints.
#include "models/family.h"

namespace moekit {

Family axk1() {
  Family family = deepseek_v3();
  family.name = "axk1";
  family.layer_rule.type_list = "mlp_layer_types";
  return family;
}

}  // namespace moekit
