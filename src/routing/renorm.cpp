// SPDX-License-Identifier: Apache-2.0
#include <cmath>

#include "core/elementary.h"
#include "routing/rules.h"

namespace moekit {
namespace {

float sum_of(const float* weights, std::int64_t k) noexcept {
  float sum = 0.0f;
  for (std::int64_t j = 0; j < k; ++j) sum += weights[j];
  return sum;
}

// (sum |w|^p)^(1/p); p = Inf is the largest magnitude.
float p_norm(double p, const float* weights, std::int64_t k) noexcept {
  float sum = 0.0f;
  if (std::isinf(p)) {
    for (std::int64_t j = 0; j < k; ++j) sum = std::fabs(weights[j]) <= sum ? sum : std::fabs(weights[j]);
    return sum;
  }
  if (p == 1.0) {
    for (std::int64_t j = 0; j < k; ++j) sum += std::fabs(weights[j]);
    return sum;
  }
  if (p == 2.0) {
    for (std::int64_t j = 0; j < k; ++j) sum += weights[j] * weights[j];
    return std::sqrt(sum);
  }
  for (std::int64_t j = 0; j < k; ++j) sum += elementary::pow(std::fabs(weights[j]), p);
  return elementary::pow(sum, 1.0 / p);
}

}  // namespace

void renormalise(const RouterConfig& config, DType dtype, std::int64_t k, float* weights) noexcept {
  const float eps = static_cast<float>(config.eps);
  float norm = 0.0f;
  switch (config.renorm) {
    case Renorm::kOff: return;
    case Renorm::kAddEps: norm = rounded(rounded(sum_of(weights, k), dtype) + eps, dtype); break;
    case Renorm::kClampMin:
      norm = rounded(sum_of(weights, k), dtype);
      if (norm < eps) norm = rounded(eps, dtype);
      break;
    case Renorm::kPnorm: norm = rounded(p_norm(config.p, weights, k), dtype); break;
  }
  for (std::int64_t j = 0; j < k; ++j) weights[j] = rounded(weights[j] / norm, dtype);
}

}  // namespace moekit
