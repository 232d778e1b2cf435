// SPDX-License-Identifier: Apache-2.0
// DeepSeek-OCR 2: the block of DeepSeek-V2.
#include "models/family.h"

namespace moekit {

Family deepseek_v2();

Family deepseek_ocr2() {
  Family family = deepseek_v2();
  family.name = "deepseek_ocr2";
  family.aliases = {"deepseek_ocr2_text"};
  family.layer_rule.type_list = "mlp_layer_types";
  return family;
}

}  // namespace moekit
