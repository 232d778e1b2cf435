// SPDX-License-Identifier: Apache-2.0
#include <cmath>
#include <limits>

#include "core/elementary.h"
#include "routing/rules.h"

namespace moekit {
namespace {

// R11, inference form of SparseMixer-v2 (PhiMoE). For each of the k rounds, with m the largest logit left:
//   drop columns j with (m - z_j) / max(|z_j|, m) > 2 eps      (z the original logits)
//   weight = softmax over the columns that are neither dropped nor taken before, at the argmax
// scratch.choice holds the logits left, scratch.scores the exponentials.
void sparsemixer(const RouterConfig& config, DType dtype, RouteScratch& scratch, std::int32_t* ids,
                 float* weights) noexcept {
  constexpr float kTaken = -std::numeric_limits<float>::infinity();
  const std::int64_t n = config.columns();
  const float* z = scratch.logits.data();
  float* left = scratch.choice.data();
  const float limit = rounded(static_cast<float>(2.0 * config.sparsemixer_eps), dtype);
  for (std::int64_t i = 0; i < n; ++i) left[i] = z[i];
  for (std::int64_t round = 0; round < config.top_k; ++round) {
    std::int64_t best = -1;
    for (std::int64_t i = 0; i < n; ++i) {
      bool taken = false;  // k is 2: cheaper than a set, and a logit of -Inf may be chosen only once too
      for (std::int64_t r = 0; r < round; ++r) taken = taken || ids[r] == i;
      if (!taken && (best < 0 || left[i] > left[best] || (left[best] != left[best] && left[i] == left[i]))) best = i;
    }
    const float top = left[best];
    float sum = 0.0f;
    for (std::int64_t i = 0; i < n; ++i) {
      const float magnitude = std::fabs(z[i]);
      const float ratio = rounded(rounded(top - z[i], dtype) / (magnitude < top ? top : magnitude), dtype);
      if (!(ratio > limit)) sum += elementary::exp(left[i] - top);
    }
    // The exponential of the largest is 1.
    weights[round] = rounded(elementary::exp(top - top) / sum, dtype);
    ids[round] = static_cast<std::int32_t>(best);
    left[best] = kTaken;
  }
}

}  // namespace

extern const ScoreRule kSparsemixerRule;
const ScoreRule kSparsemixerRule = {"sparsemixer", ScoreRule::Scope::kRow, nullptr, sparsemixer};

}  // namespace moekit
