// SPDX-License-Identifier: Apache-2.0
#include <algorithm>
#include <cmath>

#include "backends/reference/reference.h"

namespace moekit::reference {
namespace {

constexpr double kSqrtHalf = 0.70710678118654752440;     // 1 / sqrt(2)
constexpr double kSqrt2OverPi = 0.79788456080286535588;  // sqrt(2 / pi)

double silu(double x) noexcept { return x * sigmoid(x); }

double gelu_tanh(double x) noexcept { return 0.5 * x * (1.0 + std::tanh(kSqrt2OverPi * (x + 0.044715 * x * x * x))); }

double gelu(double x) noexcept { return 0.5 * x * (1.0 + std::erf(x * kSqrtHalf)); }

double relu(double x) noexcept { return x < 0.0 ? 0.0 : x; }

// std::min and std::clamp answer their first argument when it is NaN.
double cut(double x, double limit) noexcept { return std::min(x, limit); }
double clamp(double x, double limit) noexcept { return std::clamp(x, -limit, limit); }

}  // namespace

double sigmoid(double x) noexcept { return 1.0 / (1.0 + std::exp(-x)); }

double activate(const ExpertConfig& config, double g, double u) noexcept {
  const double limit = config.limit;
  switch (config.act) {
    case Activation::kLinear: return u;
    case Activation::kSilu: return silu(g) * u;
    case Activation::kGeluTanh: return gelu_tanh(g) * u;
    case Activation::kGelu: return gelu(g) * u;
    case Activation::kSiluClamp: return silu(cut(g, limit)) * clamp(u, limit);
    case Activation::kSwigluOai: {
      const double gate = cut(g, limit);
      return (clamp(u, limit) + config.up_add) * (gate * sigmoid(config.alpha * gate));
    }
    case Activation::kSwigluStep: return cut(silu(g), limit) * clamp(u, limit);
    case Activation::kRelu: return relu(u);
    case Activation::kRelu2: return relu(u) * relu(u);
  }
  return u;
}

}  // namespace moekit::reference
