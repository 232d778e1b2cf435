// SPDX-License-Identifier: Apache-2.0
// Rows of x made ready: converted and padded, or put through the router's input function; and the gate of shared
// experts.
#include "backends/cuda/device.h"
#include "backends/cuda/kernels.h"
#include "backends/cuda/rows.h"

namespace moekit::cuda {
namespace {

// The sum of squares with its rounding errors carried along (TwoSum, and the error of a product by fma), good to the
// last bit of float32 in any order: the reference sums in float64.
struct SquareSum {
  float sum, error;
  MOEKIT_DEVICE void add(float value, float value_error) {
    const float total = sum + value, part = total - sum;
    error += (sum - (total - part)) + (value - part) + value_error;
    sum = total;
  }
};

MOEKIT_DEVICE float warp_sum_of_squares(const void* x, Element element, long long first, int cols, int lane) {
  SquareSum total = {0.0f, 0.0f};
  for (int c = lane; c < cols; c += kWarpSize) {
    const float value = load_element(x, element, first + c), square = value * value;
    total.add(square, fmaf(value, value, -square));
  }
  for (int lanes = kWarpSize / 2; lanes > 0; lanes /= 2) {
    const float sum = __shfl_xor_sync(kFullWarp, total.sum, lanes);
    const float error = __shfl_xor_sync(kFullWarp, total.error, lanes);
    total.add(sum, error);
  }
  return total.sum + total.error;
}

}  // namespace

MOEKIT_CUDA_KERNEL(moekit_prepare_rows, PrepareParams, kRowThreads) {
  const int row = static_cast<int>(blockIdx.x);
  if (p.row_count != nullptr && row >= *p.row_count) return;
  const int slot = p.slot_of_row != nullptr ? p.slot_of_row[row] : 0;
  const long long first = (p.slot_of_row != nullptr ? slot / p.top_k : row) * p.row_stride;
  const float weight = p.slot_of_row != nullptr ? p.weights[slot] : 1.0f;
  const long long to = row * p.out_stride;
  for (int c = static_cast<int>(threadIdx.x); c < p.padded; c += static_cast<int>(blockDim.x)) {
    float value = c < p.cols ? load_element(p.x, p.from, first + c) : 0.0f;
    if (p.slot_of_row != nullptr) value = c < p.cols ? rounded(weight * value, p.from) : 0.0f;
    store_element(p.out, p.to, to + c, value);
  }
}

// Four warps a block.
MOEKIT_CUDA_KERNEL(moekit_router_input, RouterInputParams, kRowThreads) {
  const int lane = static_cast<int>(threadIdx.x) % kWarpSize;
  const int token =
      static_cast<int>(blockIdx.x) * (kRowThreads / kWarpSize) + static_cast<int>(threadIdx.x) / kWarpSize;
  if (token >= p.tokens) return;
  const long long first = token * p.row_stride, to = static_cast<long long>(token) * p.padded;
  float inverse = 1.0f;
  if (p.rms_norm) {
    const float mean = warp_sum_of_squares(p.x, p.from, first, p.cols, lane) / static_cast<float>(p.cols) + p.in_eps;
    inverse = 1.0f / sqrtf(mean);
  }
  for (int c = lane; c < p.padded; c += kWarpSize) {
    float value = 0.0f;
    if (c < p.cols) {
      value = rounded(load_element(p.x, p.from, first + c) * inverse, p.precision);
      if (p.in_scale != nullptr) value = rounded(value * p.in_scale[c], p.precision);
      if (p.in_mult != 1.0f) value = rounded(value * p.in_mult, p.precision);
    }
    p.out[to + c] = value;
  }
}

MOEKIT_CUDA_KERNEL(moekit_shared_gate, SharedGateParams, kRowThreads) {
  const int lane = static_cast<int>(threadIdx.x) % kWarpSize;
  const int token =
      static_cast<int>(blockIdx.x) * (kRowThreads / kWarpSize) + static_cast<int>(threadIdx.x) / kWarpSize;
  if (token >= p.tokens) return;
  float sum = 0.0f;
  for (int c = lane; c < p.cols; c += kWarpSize)
    sum = fmaf(load_element(p.x, p.from, token * p.row_stride + c), p.weight[c], sum);
  sum = warp_sum(sum);
  if (lane == 0) p.out[token] = 1.0f / (1.0f + expf(-sum));
}

MOEKIT_CUDA_KERNEL(moekit_external_routing, ExternalParams, kRowThreads) {
  const int slot = static_cast<int>(blockIdx.x) * kRowThreads + static_cast<int>(threadIdx.x);
  if (slot >= p.slots) return;
  int id = p.from_ids[slot];
  if (id < -1 || id >= p.columns) {
    *p.bad_input = 1 + slot;  // any of them
    id = -1;
  }
  p.ids[slot] = id;
  p.weights[slot] = p.from_weights[slot];
}

}  // namespace moekit::cuda
