// SPDX-License-Identifier: Apache-2.0
// The list of scoring rules, in the order of enum Score.
#include "routing/rules.h"

namespace moekit {

extern const ScoreRule kSoftmaxRule;
extern const ScoreRule kSigmoidRule;
extern const ScoreRule kSqrtSoftplusRule;
extern const ScoreRule kSoftmaxTopkRule;
extern const ScoreRule kSparsemixerRule;

namespace {

const ScoreRule* const kRules[] = {
    &kSoftmaxRule, &kSigmoidRule, &kSqrtSoftplusRule, &kSoftmaxTopkRule, &kSparsemixerRule,
};

}  // namespace

const ScoreRule& score_rule(Score score) noexcept { return *kRules[static_cast<std::size_t>(score)]; }

}  // namespace moekit
