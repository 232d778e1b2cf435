// SPDX-License-Identifier: Apache-2.0
#include <cmath>

#include "core/elementary.h"
#include "routing/rules.h"

namespace moekit {
namespace {

// Above 20 softplus(z) = z in float32: log(1 + exp(-20)) = 2e-9 is below half an ulp of 20. The same bound as torch.
constexpr float kSoftplusIdentity = 20.0f;

void sqrt_softplus(const float* z, std::int64_t n, DType dtype, float* s) noexcept {
  for (std::int64_t i = 0; i < n; ++i) {
    const float softplus = z[i] > kSoftplusIdentity ? z[i] : elementary::softplus(z[i]);
    s[i] = rounded(std::sqrt(rounded(softplus, dtype)), dtype);
  }
}

}  // namespace

// R7: DeepSeek-V4.
extern const ScoreRule kSqrtSoftplusRule;
const ScoreRule kSqrtSoftplusRule = {"sqrt(softplus)", ScoreRule::Scope::kElement, sqrt_softplus, nullptr};

}  // namespace moekit
