// SPDX-License-Identifier: Apache-2.0
// For kernels: what stands between the projections.
#pragma once

#include "backends/cuda/device.h"
#include "backends/cuda/kernels.h"

namespace moekit::cuda {

/// All gated forms but the exact GELU are min(g' sigmoid(s(g')), ceiling) * (clamp(u) + up_add) with g' = min(g, cut):
/// the tanh form of GELU too, as (1 + tanh x) / 2 = sigmoid(2 x). Comparisons let NaN through.
MOEKIT_DEVICE float gated_activation(const ActivationParams& a, float gate, float up) {
  constexpr float kSqrtHalf = 0.70710678f;
  gate = gate > a.cut ? a.cut : gate;
  float value;
  if (a.act == Activation::kGelu) {
    value = 0.5f * gate * (1.0f + erff(gate * kSqrtHalf));
  } else {
    // Without a cubic term it is left out: 0 * Inf would be NaN.
    const float slope = a.cubic != 0.0f ? fmaf(a.cubic, gate * gate, a.slope) : a.slope;
    value = gate * reciprocal(1.0f + expf(-gate * slope));
  }
  value = value > a.ceiling ? a.ceiling : value;
  up = up > a.clamp ? a.clamp : (up < -a.clamp ? -a.clamp : up);
  return value * (up + a.up_add);
}

MOEKIT_DEVICE float plain_activation(const ActivationParams& a, float up) {
  if (a.act == Activation::kLinear) return up;
  up = up < 0.0f ? 0.0f : up;
  return a.act == Activation::kRelu2 ? up * up : up;
}

}  // namespace moekit::cuda
