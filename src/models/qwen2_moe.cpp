// SPDX-License-Identifier: Apache-2.0
// Qwen2-MoE: the router of Qwen3-MoE, and a shared expert weighted by sigmoid(x . w).
#include "models/family.h"

namespace moekit {

Family qwen2_moe() {
  Family family = qwen3_moe();
  family.name = "qwen2_moe";
  family.shared_intermediate = {{"shared_expert_intermediate_size"}, {}};
  family.shared_gate = SharedGate::kSigmoid;
  return family;
}

}  // namespace moekit
