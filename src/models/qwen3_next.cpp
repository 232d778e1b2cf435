// SPDX-License-Identifier: Apache-2.0
// Qwen3-Next: the block of Qwen2-MoE, renormalised by default.
#include "models/family.h"

namespace moekit {

Family qwen2_moe();

Family qwen3_next() {
  Family family = qwen2_moe();
  family.name = "qwen3_next";
  family.renorm.absent = 1.0;
  return family;
}

}  // namespace moekit
