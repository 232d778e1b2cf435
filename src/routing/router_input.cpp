// SPDX-License-Identifier: Apache-2.0
#include <cmath>

#include "routing/rules.h"

namespace moekit {

// R9 (Gemma 4): norm without weight, then * scale, then * hidden^-1/2, each rounding to the model's dtype. The mean of
// squares is summed in float64, so that it depends on no summation order.
bool router_input(const RouterConfig& config, const RouterTables& tables, const float* x, std::int64_t hidden,
                  DType native, float* out) noexcept {
  if (!config.in_rmsnorm && tables.in_scale.empty() && config.in_mult == 1.0) return false;
  const DType dtype = rounding(config.matmul, native);
  float inverse = 1.0f;
  if (config.in_rmsnorm) {
    double sum = 0.0;
    for (std::int64_t i = 0; i < hidden; ++i) sum += static_cast<double>(x[i]) * static_cast<double>(x[i]);
    const float mean = static_cast<float>(sum / static_cast<double>(hidden)) + static_cast<float>(config.in_eps);
    inverse = 1.0f / std::sqrt(mean);
  }
  const float mult = static_cast<float>(config.in_mult);
  for (std::int64_t i = 0; i < hidden; ++i) {
    float value = rounded(x[i] * inverse, dtype);
    if (!tables.in_scale.empty()) value = rounded(value * tables.in_scale[static_cast<std::size_t>(i)], dtype);
    out[i] = config.in_mult == 1.0 ? value : rounded(value * mult, dtype);
  }
  return true;
}

}  // namespace moekit
