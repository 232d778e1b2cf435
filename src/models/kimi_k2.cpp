// SPDX-License-Identifier: Apache-2.0
// Kimi K2 and the text model of K2.5: the block of DeepSeek-V3.
#include "models/family.h"

namespace moekit {

Family kimi_k2() {
  Family family = deepseek_v3();
  family.name = "kimi_k2";
  family.aliases = {"kimi_k25"};
  return family;
}

}  // namespace moekit
