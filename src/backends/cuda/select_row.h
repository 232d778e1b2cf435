// SPDX-License-Identifier: Apache-2.0
// For kernels: a router's row in the hands of one warp. Column c belongs to lane c % 32. Sums over columns run by lane
// and then over a tree, so weights may differ from the host's in the last bits; choices follow the same total order.
#pragma once

#include "backends/cuda/device.h"
#include "backends/cuda/kernels.h"
#include "backends/cuda/rows.h"

namespace moekit::cuda {

MOEKIT_DEVICE float negative_infinity() { return __uint_as_float(0xff800000u); }

/// A token's working memory. `keys` holds the order of the candidates: larger is better, 0 is taken or masked out.
struct Row {
  const SelectParams& p;
  int token, lane;
  float* z;        // [columns] logits
  float* s;        // [columns] scores, then values to choose by
  unsigned* keys;  // [columns]
  int* ids;        // [top_k] in the output
  float* weights;
};

// The order of the selection: by value, -0 = +0, NaN below -Inf. Never 0.
MOEKIT_DEVICE unsigned order_key(float value) {
  if (value != value) return 1u;
  const unsigned bits = __float_as_uint(value + 0.0f);
  return 1u + ((bits >> 31) != 0 ? ~bits : bits | 0x80000000u);
}

struct Best {
  unsigned key;
  int column;
};

MOEKIT_DEVICE bool better(unsigned key, int column, const Best& than) {
  return key > than.key || (key == than.key && column < than.column);
}

MOEKIT_DEVICE Best warp_best(Best best) {
  for (int lanes = kWarpSize / 2; lanes > 0; lanes /= 2) {
    const unsigned key = __shfl_xor_sync(kFullWarp, best.key, lanes);
    const int column = __shfl_xor_sync(kFullWarp, best.column, lanes);
    if (better(key, column, best)) best = {key, column};
  }
  return best;
}

// The best of keys[0 .. n), which is taken out.
MOEKIT_DEVICE int take_best(const Row& r, unsigned* keys, int n) {
  Best best = {0u, 0x7fffffff};
  for (int c = r.lane; c < n; c += kWarpSize)
    if (better(keys[c], c, best)) best = {keys[c], c};
  best = warp_best(best);
  if (best.column % kWarpSize == r.lane && best.column < n) keys[best.column] = 0;
  return best.column;
}

MOEKIT_DEVICE float warp_max(float value) {
  for (int lanes = kWarpSize / 2; lanes > 0; lanes /= 2) {
    const float other = __shfl_xor_sync(kFullWarp, value, lanes);
    value = other > value ? other : value;
  }
  return value;
}

// z: bias, multiplier, soft cap. Answers whether any is NaN.
MOEKIT_DEVICE bool finish_logits(const Row& r) {
  const SelectParams& p = r.p;
  const Element precision = p.logits_in;
  bool nan = false;
  for (int c = r.lane; c < p.columns; c += kWarpSize) {
    float z = p.logits[static_cast<long long>(r.token) * p.logits_stride + c];
    if (p.bias != nullptr) z += p.bias[c];
    z = rounded(z, precision);
    if (p.logit_mult != 1.0f) z = rounded(z * p.logit_mult, precision);
    if (p.softcap != 0.0f)
      z = rounded(p.softcap * rounded(tanhf(rounded(z / p.softcap, precision)), precision), precision);
    r.z[c] = z;
    nan = nan || z != z;
  }
  __syncwarp();
  return __ballot_sync(kFullWarp, nan) != 0;
}

MOEKIT_DEVICE float norm_of(const Row& r) {
  const SelectParams& p = r.p;
  const bool infinite = p.p > 3.0e38f;
  float sum = 0.0f, top = 0.0f;
  for (int j = r.lane; j < p.top_k; j += kWarpSize) {
    const float w = r.weights[j], magnitude = fabsf(w);
    if (p.renorm != Renorm::kPnorm) {
      sum += w;
    } else if (infinite) {
      top = magnitude <= top ? top : magnitude;
    } else {
      sum += p.p == 1.0f ? magnitude : (p.p == 2.0f ? w * w : powf(magnitude, p.p));
    }
  }
  if (p.renorm == Renorm::kPnorm && infinite) return warp_max(top);
  sum = warp_sum(sum);
  if (p.renorm != Renorm::kPnorm || p.p == 1.0f) return sum;
  return p.p == 2.0f ? sqrtf(sum) : powf(sum, p.inverse_p);
}

MOEKIT_DEVICE void finish_weights(const Row& r, bool nan) {
  const SelectParams& p = r.p;
  const Element precision = p.scores_in;
  float norm = 1.0f;
  if (p.renorm != Renorm::kOff) {
    norm = rounded(norm_of(r), precision);
    if (p.renorm == Renorm::kAddEps) norm = rounded(norm + p.eps, precision);
    if (p.renorm == Renorm::kClampMin && norm < p.eps) norm = rounded(p.eps, precision);
  }
  for (int j = r.lane; j < p.top_k; j += kWarpSize) {
    float w = r.weights[j];
    if (p.renorm != Renorm::kOff) w = rounded(w / norm, precision);
    if (p.scale != 1.0f) w = rounded(w * p.scale, precision);
    if (p.per_expert_scale != nullptr) w = rounded(w * p.per_expert_scale[r.ids[j]], precision);
    w = rounded(w, p.weights_in);
    r.weights[j] = nan ? __uint_as_float(0x7fc00000u) : w;
  }
}

/// The row of this warp; `token` is not below p.tokens where there is none.
MOEKIT_DEVICE Row row_of_warp(const SelectParams& p, SharedMemory& shared) {
  const int warps = static_cast<int>(blockDim.x) / kWarpSize, warp = static_cast<int>(threadIdx.x) / kWarpSize;
  float* const z = shared.take<float>(warps * p.columns);
  float* const s = shared.take<float>(warps * p.columns);
  unsigned* const keys = shared.take<unsigned>(warps * p.columns);
  const int token = static_cast<int>(blockIdx.x) * warps + warp;
  const long long at = static_cast<long long>(token) * p.top_k;
  return {p,
          token,
          static_cast<int>(threadIdx.x) % kWarpSize,
          z + warp * p.columns,
          s + warp * p.columns,
          keys + warp * p.columns,
          p.ids + at,
          p.weights + at};
}

}  // namespace moekit::cuda
