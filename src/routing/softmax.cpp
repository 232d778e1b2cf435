// SPDX-License-Identifier: Apache-2.0
#include "routing/softmax.h"

#include "core/elementary.h"
#include "routing/rules.h"

namespace moekit {

void softmax(const float* z, std::int64_t n, DType dtype, float* s) noexcept {
  const float top = max_value(z, n);
  for (std::int64_t i = 0; i < n; ++i) s[i] = elementary::exp(z[i] - top);
  // Four partial sums: the chain of dependent additions would otherwise be as long as the exponentials. The order is
  // a function of n alone.
  float part[4] = {0.0f, 0.0f, 0.0f, 0.0f};
  std::int64_t i = 0;
  for (; i + 4 <= n; i += 4)
    for (int lane = 0; lane < 4; ++lane) part[lane] += s[i + lane];
  for (; i < n; ++i) part[0] += s[i];
  const float sum = (part[0] + part[1]) + (part[2] + part[3]);
  for (std::int64_t j = 0; j < n; ++j) s[j] = s[j] / sum;
  if (dtype != DType::kFloat32)
    for (std::int64_t j = 0; j < n; ++j) s[j] = rounded(s[j], dtype);
}

// R1: probabilities over all columns (Qwen, OLMoE, Mixtral, DeepSeek-V2, ...).
extern const ScoreRule kSoftmaxRule;
const ScoreRule kSoftmaxRule = {"softmax", ScoreRule::Scope::kRow, softmax, nullptr};

}  // namespace moekit
