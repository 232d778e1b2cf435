// SPDX-License-Identifier: Apache-2.0
// Activations on sixteen lanes. Formulas: moekit/layer.h.
#pragma once

#include "backends/cpu/kernels.h"
#include "backends/cpu/vec.h"

namespace moekit::cpu {
namespace {

MOEKIT_INLINE F16 sigmoid_times(F16 g, F16 z) { return g / (exp16(-z) + 1.0f); }  // g * sigmoid(z), no cancellation

/// gelu_tanh(g) = g sigmoid(2 sqrt(2/pi) (g + 0.044715 g^3)), since (1 + tanh z) / 2 = sigmoid(2 z).
MOEKIT_INLINE F16 gelu_tanh(F16 g) {
  return sigmoid_times(g, multiply_add(g * g, 0.044715f, splat(1.0f)) * g * 1.5957691216f);
}

/// gelu(g) = g Phi(g), Phi from erfc(z) = poly(t) exp(-z^2), t = 1 / (1 + p z): Abramowitz & Stegun 7.1.26, absolute
/// error 1.5e-7. The lower half is used directly, so that large negative g loses nothing to cancellation.
MOEKIT_INLINE F16 gelu(F16 g) {
  const F16 z = where_less(g, F16{}, -g, g) * 0.70710678118f;
  const F16 t = 1.0f / multiply_add(z, 0.3275911f, splat(1.0f));
  F16 p = splat(1.061405429f);
  p = multiply_add(p, t, splat(-1.453152027f));
  p = multiply_add(p, t, splat(1.421413741f));
  p = multiply_add(p, t, splat(-0.284496736f));
  p = multiply_add(p, t, splat(0.254829592f));
  const F16 tail = p * t * exp16(-z * z) * 0.5f;  // Phi(-|g|)
  return g * where_less(g, F16{}, tail, 1.0f - tail);
}

/// g and u: gate and up, or u alone for ungated forms (g is ignored).
MOEKIT_INLINE F16 activate(const ActivationParams& a, F16 g, F16 u) {
  switch (a.act) {
    case Activation::kSilu: return sigmoid_times(g, g) * u;
    case Activation::kGeluTanh: return gelu_tanh(g) * u;
    case Activation::kGelu: return gelu(g) * u;
    case Activation::kSiluClamp: {
      const F16 c = min16(g, a.limit);
      return sigmoid_times(c, c) * max16(min16(u, a.limit), -a.limit);
    }
    case Activation::kSwigluOai: {
      const F16 c = min16(g, a.limit);
      return (max16(min16(u, a.limit), -a.limit) + a.up_add) * sigmoid_times(c, c * a.alpha);
    }
    case Activation::kSwigluStep: return min16(sigmoid_times(g, g), a.limit) * max16(min16(u, a.limit), -a.limit);
    case Activation::kRelu: return max16(u, 0.0f);
    case Activation::kRelu2: {
      const F16 r = max16(u, 0.0f);
      return r * r;
    }
    case Activation::kLinear: break;
  }
  return u;
}

}  // namespace
}  // namespace moekit::cpu
