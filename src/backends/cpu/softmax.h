// SPDX-License-Identifier: Apache-2.0
// Softmax of rows of logits for routers that use every expert, and the weighted sum of the smallest dense modules.
#pragma once

#include <limits>
#include <type_traits>

#include "backends/cpu/gather.h"
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

/// Rows of logits are padded to a multiple of 32 columns; what lies beyond `columns` is replaced by -Inf for the
/// maximum and by 0 in the sum. NaN logits make a row of NaN.
MOEKIT_INLINE void softmax_row(const SoftmaxArgs& args, std::int64_t r) {
  const float infinity = std::numeric_limits<float>::infinity();
  static constexpr float kIndex[16] = {0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15};
  const auto index = load<F16>(kIndex);
  const auto real = [&](std::int64_t c, F16 v, float beyond) {
    return where_less(index, splat(static_cast<float>(args.columns - c)), v, splat(beyond));
  };
  const float* z = args.logits + r * args.stride;
  float* out = args.weights + r * args.columns;
  const auto logit = [&](std::int64_t c) {
    F16 v = load<F16>(z + c);
    if (args.bias != nullptr) v = v + load<F16>(args.bias + c);
    return real(c, v, -infinity);
  };
  // What is stored of a vector; the last one of a row is cut.
  const auto put = [&](std::int64_t c, F16 v) {
    v = one_nan(v);
    if (args.columns - c >= 16) return store(out + c, v);
    float lane[16];
    store(lane, v);
    for (std::int64_t i = 0; i < args.columns - c; ++i) out[c + i] = lane[i];
  };
  if (args.columns <= 16) {  // in registers
    const F16 v = logit(0);
    const F16 e = real(0, exp16(v - max_of(v)), 0.0f);
    return put(0, e / sum_of(e));
  }
  F16 top = splat(-infinity);
  for (std::int64_t c = 0; c < args.columns; c += 16) {
    const F16 v = logit(c);
    top = where_less(top, v, v, top);
  }
  const float highest = max_of(top);
  F16 sum = {};
  for (std::int64_t c = 0; c < args.columns; c += 16) sum = sum + real(c, exp16(logit(c) - highest), 0.0f);
  const float total = sum_of(sum);
  for (std::int64_t c = 0; c < args.columns; c += 16) put(c, exp16(logit(c) - highest) / total);
}

inline void softmax_rows(const SoftmaxArgs& args) noexcept {
  for (std::int64_t r = 0; r < args.rows; ++r) softmax_row(args, r);
}

/// Columns of a row: E logits, then `output` columns an expert. Experts in ascending order, as everywhere.
inline void small_dense_rows(const SmallDenseArgs& args) noexcept {
  const SoftmaxArgs softmax{args.columns, args.stride, args.bias, args.rows, args.experts, args.weights};
  for (std::int64_t r = 0; r < args.rows; ++r) {
    softmax_row(softmax, r);
    const float* weight = args.weights + r * args.experts;
    const float* column = args.columns + r * args.stride + args.experts;
    const float* bias = args.bias != nullptr ? args.bias + args.experts : nullptr;
    F16 y = {};
    for (std::int64_t e = 0; e < args.experts; ++e, column += args.output) {
      F16 v = load<F16>(column);
      if (bias != nullptr) {
        v = v + load<F16>(bias);
        bias += args.output;
      }
      y = multiply_add(v, weight[e], y);
    }
    y = one_nan(y * args.factor);
    const auto put = [&](auto* target) {
      std::remove_pointer_t<decltype(target)> lane[16];
      store_row(lane, y);
      for (std::int64_t i = 0; i < args.output; ++i) target[i] = lane[i];
    };
    if (args.dtype == DType::kBFloat16) {
      put(static_cast<std::uint16_t*>(args.y) + r * args.y_stride);
    } else {
      put(static_cast<float*>(args.y) + r * args.y_stride);
    }
  }
}

}  // namespace
}  // namespace moekit::cpu
