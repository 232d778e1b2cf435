// SPDX-License-Identifier: Apache-2.0
// gpt-oss: top-k of biased logits, then softmax over the chosen ones in the native dtype. The experts are stacked,
// transposed, with gate and up in turn, and have biases.
#include "models/family.h"

namespace moekit {

Family gpt_oss() {
  Family family;
  family.name = "gpt_oss";
  family.router.score = Score::kSoftmaxTopk;
  family.router.score_in = family.router.out = Precision::kNative;
  family.expert.act = Activation::kSwigluOai;
  family.expert.up_bias = family.expert.down_bias = true;
  family.limit = {{"swiglu_limit"}, 7.0};
  family.alpha = {{"swiglu_alpha"}, 1.702};
  family.activation = {};
  family.top_k = {{"num_experts_per_tok", "experts_per_token"}, {}};
  family.intermediate = {{"intermediate_size"}, {}};
  family.router_weight = {"router.weight"};
  family.router_bias = {"router.bias"};
  family.stacked = Stacked::kTransposed;
  family.interleaved = true;
  return family;
}

}  // namespace moekit
