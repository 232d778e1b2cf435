// SPDX-License-Identifier: Apache-2.0
// OpenAI's privacy filter: the block of gpt-oss with gate rows before up rows, routed in float32. (Its weights are
// divided by top_k, and the sum is multiplied by it again.)
#include "models/family.h"

namespace moekit {

Family gpt_oss();

Family openai_privacy_filter() {
  Family family = gpt_oss();
  family.name = "openai_privacy_filter";
  family.router.matmul = Precision::kFloat32;
  family.router.score_in = family.router.out = Precision::kFloat32;
  family.interleaved = false;
  return family;
}

}  // namespace moekit
