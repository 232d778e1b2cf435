// SPDX-License-Identifier: Apache-2.0
#include "routing/rules.h"
#include "routing/softmax.h"

namespace moekit {

// R2: top-k of the logits, then probabilities over those k (gpt-oss, Granite, JetMoE, Cohere 2). Equal to softmax with
// renormalisation in exact arithmetic; the rounding differs.
extern const ScoreRule kSoftmaxTopkRule;
const ScoreRule kSoftmaxTopkRule = {"softmax of the chosen logits", ScoreRule::Scope::kChosen, softmax, nullptr};

}  // namespace moekit
