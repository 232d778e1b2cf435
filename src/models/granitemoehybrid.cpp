// SPDX-License-Identifier: Apache-2.0
// Granite 4 (hybrid): the block of Granite-MoE with a shared expert.
#include "models/family.h"

namespace moekit {

Family granitemoeshared();

Family granitemoehybrid() {
  Family family = granitemoeshared();
  family.name = "granitemoehybrid";
  return family;
}

}  // namespace moekit
