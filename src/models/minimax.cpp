// SPDX-License-Identifier: Apache-2.0
// MiniMax-Text-01: the block of Mixtral in every layer.
#include "models/family.h"

namespace moekit {

Family mixtral();

Family minimax() {
  Family family = mixtral();
  family.name = "minimax";
  return family;
}

}  // namespace moekit
