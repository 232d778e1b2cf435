// SPDX-License-Identifier: Apache-2.0
// Qwen3-MoE: softmax in float32 over the native logits, top-k, optional renormalisation, weights cast back.
#include "models/family.h"

namespace moekit {

Family qwen3_moe() {
  Family family;
  family.name = "qwen3_moe";
  family.router.score = Score::kSoftmax;
  family.router.out = Precision::kNative;
  family.renorm = {{"norm_topk_prob"}, 0.0};
  family.layer_rule.step = {{"decoder_sparse_step"}, 1.0};
  family.layer_rule.phase = 1;
  family.layer_rule.dense_list = "mlp_only_layers";
  return family;
}

}  // namespace moekit
