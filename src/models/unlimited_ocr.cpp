// SPDX-License-Identifier: Apache-2.0
// Unlimited-OCR: the block of DeepSeek-V2.
#include "models/family.h"

namespace moekit {

Family deepseek_v2();

Family unlimited_ocr() {
  Family family = deepseek_v2();
  family.name = "unlimited_ocr";
  family.aliases = {"unlimited_ocr_text"};
  family.layer_rule.type_list = "mlp_layer_types";
  return family;
}

}  // namespace moekit
