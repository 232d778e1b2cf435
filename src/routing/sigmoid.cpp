// SPDX-License-Identifier: Apache-2.0
#include "core/elementary.h"
#include "routing/rules.h"

namespace moekit {
namespace {

void sigmoid(const float* z, std::int64_t n, DType dtype, float* s) noexcept {
  for (std::int64_t i = 0; i < n; ++i) s[i] = rounded(elementary::sigmoid(z[i]), dtype);
}

}  // namespace

// R3: independent scores (DeepSeek-V3, GLM-4.5, Kimi K2, MiniMax-M2, ...).
extern const ScoreRule kSigmoidRule;
const ScoreRule kSigmoidRule = {"sigmoid", ScoreRule::Scope::kElement, sigmoid, nullptr};

}  // namespace moekit
