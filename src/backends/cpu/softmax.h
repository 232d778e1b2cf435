// SPDX-License-Identifier: Apache-2.0
// Softmax of rows of logits for routers that use every expert.
#pragma once

#include <limits>

#include "backends/cpu/kernels.h"
#include "backends/cpu/vec.h"

namespace moekit::cpu {
namespace {

// Halves folded onto each other: one order whatever the ISA.
MOEKIT_INLINE float max_of(F16 v) {
  float lane[16];
  store(lane, v);
  for (int width = 8; width > 0; width /= 2)
    for (int i = 0; i < width; ++i) lane[i] = lane[i + width] > lane[i] ? lane[i + width] : lane[i];
  return lane[0];
}
MOEKIT_INLINE float sum_of(F16 v) {
  float lane[16];
  store(lane, v);
  for (int width = 8; width > 0; width /= 2)
    for (int i = 0; i < width; ++i) lane[i] += lane[i + width];
  return lane[0];
}

/// Rows of logits are padded to a multiple of 32 columns; what lies beyond `columns` is replaced by -Inf, whose
/// exponential is small but not zero: those lanes are cleared before the sum. NaN logits make a row of NaN.
inline void softmax_rows(const SoftmaxArgs& args) noexcept {
  const float infinity = std::numeric_limits<float>::infinity();
  const F16 index = {0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15};
  for (std::int64_t r = 0; r < args.rows; ++r) {
    float* z = args.logits + r * args.stride;
    F16 top = splat(-infinity);
    for (std::int64_t c = 0; c < args.columns; c += 16) {
      F16 v = load<F16>(z + c);
      if (args.bias != nullptr) v = v + load<F16>(args.bias + c);
      v = index < static_cast<float>(args.columns - c) ? v : splat(-infinity);
      store(z + c, v);
      top = v > top ? v : top;
    }
    const float highest = max_of(top);
    F16 sum = {};
    for (std::int64_t c = 0; c < args.columns; c += 16) {
      F16 e = exp16(load<F16>(z + c) - highest);
      e = index < static_cast<float>(args.columns - c) ? e : F16{};
      store(z + c, e);
      sum = sum + e;
    }
    const float total = sum_of(sum);
    float* out = args.weights + r * args.columns;
    for (std::int64_t c = 0; c < args.columns; c += 16) {
      float p[16];
      store(p, load<F16>(z + c) / total);
      const std::int64_t count = args.columns - c < 16 ? args.columns - c : 16;
      std::memcpy(out + c, p, static_cast<std::size_t>(count) * sizeof(float));
    }
  }
}

}  // namespace
}  // namespace moekit::cpu
