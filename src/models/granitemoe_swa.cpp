// SPDX-License-Identifier: Apache-2.0
// Granite-MoE with sliding windows: the block of Granite-MoE with a shared expert.
#include "models/family.h"

namespace moekit {

Family granitemoeshared();

Family granitemoe_swa() {
  Family family = granitemoeshared();
  family.name = "granitemoe_swa";
  return family;
}

}  // namespace moekit
