// SPDX-License-Identifier: Apache-2.0
#include <limits>

#include "backends/cuda/host_params.h"

namespace moekit::cuda {
namespace {

constexpr float kNone = std::numeric_limits<float>::infinity();  // a limit that limits nothing
constexpr double kSqrt2OverPi = 0.79788456080286535588;

}  // namespace

ActivationParams no_activation() { return {Activation::kLinear, kNone, 1.0f, 0.0f, kNone, kNone, 0.0f}; }

ActivationParams activation_params(const ExpertConfig& config) {
  ActivationParams a = no_activation();
  const float limit = static_cast<float>(config.limit);
  a.act = config.act;
  switch (config.act) {
    case Activation::kGeluTanh:
      // gelu_tanh(g) = g / 2 (1 + tanh(c (g + 0.044715 g^3))) = g sigmoid(2 c g (1 + 0.044715 g^2)), c = sqrt(2 / pi)
      a.slope = static_cast<float>(2.0 * kSqrt2OverPi);
      a.cubic = static_cast<float>(2.0 * kSqrt2OverPi * 0.044715);
      break;
    case Activation::kSiluClamp: a.cut = a.clamp = limit; break;
    case Activation::kSwigluOai:
      a.cut = a.clamp = limit;
      a.slope = static_cast<float>(config.alpha);
      a.up_add = static_cast<float>(config.up_add);
      break;
    case Activation::kSwigluStep: a.ceiling = a.clamp = limit; break;
    case Activation::kLinear:
    case Activation::kSilu:
    case Activation::kGelu:
    case Activation::kRelu:
    case Activation::kRelu2: break;
  }
  return a;
}

}  // namespace moekit::cuda
