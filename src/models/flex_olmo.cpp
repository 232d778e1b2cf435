// SPDX-License-Identifier: Apache-2.0
// FlexOlmo: the block of OLMoE.
#include "models/family.h"

namespace moekit {

Family olmoe();

Family flex_olmo() {
  Family family = olmoe();
  family.name = "flex_olmo";
  return family;
}

}  // namespace moekit
