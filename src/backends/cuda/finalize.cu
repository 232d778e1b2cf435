// SPDX-License-Identifier: Apache-2.0
// The weighted sum of a token's experts, identity experts and shared experts, in float32 and in the order of the
// token's slots: no atomics, the same bits whatever else is in the batch.
#include "backends/cuda/device.h"
#include "backends/cuda/kernels.h"
#include "backends/cuda/rows.h"

namespace moekit::cuda {
namespace {

// What identity expert j adds to column c.
MOEKIT_DEVICE float identity(const FinalizeParams& p, int token, int c, float weight) {
  const float x = load_element(p.x, p.x_element, token * p.x_stride + c);
  return p.weighted_input ? rounded(weight * x, p.x_element) : weight * x;
}

MOEKIT_DEVICE float routed_sum(const FinalizeParams& p, int token, int c) {
  float sum = 0.0f;
  for (int j = 0; j < p.top_k; ++j) {
    const long long slot = static_cast<long long>(token) * p.top_k + j;
    const int row = p.row_of_slot[slot], id = p.ids[slot];
    if (row >= 0) {
      const float y = p.routed[row * p.routed_stride + c];
      sum = p.weighted_input ? sum + y : fmaf(p.weights[slot], y, sum);
    } else if (id >= p.experts && id < p.columns) {
      sum += identity(p, token, c, p.weights[slot]);
    }
  }
  return sum * p.routed_scale;
}

MOEKIT_DEVICE float shared_sum(const FinalizeParams& p, int token, int c) {
  float sum = 0.0f;
  for (int e = 0; e < p.shared_count; ++e)
    sum += p.shared[(static_cast<long long>(e) * p.tokens + token) * p.routed_stride + c];
  return p.shared_gate != nullptr ? sum * p.shared_gate[token] : sum;
}

}  // namespace

MOEKIT_CUDA_KERNEL(moekit_finalize, FinalizeParams, kRowThreads) {
  const int token = static_cast<int>(blockIdx.x);
  for (int c = static_cast<int>(threadIdx.x); c < p.output; c += static_cast<int>(blockDim.x)) {
    float y = routed_sum(p, token, c);
    if (p.shared_count > 0) y = (y + shared_sum(p, token, c)) * p.shared_scale;
    y *= p.out_scale;
    store_element(p.y, p.y_element, token * p.y_stride + c, y);
  }
}

}  // namespace moekit::cuda
