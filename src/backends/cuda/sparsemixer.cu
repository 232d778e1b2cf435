// SPDX-License-Identifier: Apache-2.0
// The router rule whose weights depend on the order of the choice, one warp a token; see src/routing/sparsemixer.cpp.
// A kernel of its own, so that its registers do not weigh on the others.
#include "backends/cuda/select_row.h"

namespace moekit::cuda {
namespace {

// Choice and weights of SparseMixer-v2; see src/routing/sparsemixer.cpp for the formula.
MOEKIT_DEVICE void sparsemixer(const Row& r) {
  const SelectParams& p = r.p;
  const Element precision = p.scores_in;
  for (int c = r.lane; c < p.columns; c += kWarpSize) r.keys[c] = order_key(r.z[c]);
  for (int j = 0; j < p.top_k; ++j) {
    const int column = take_best(r, r.keys, p.columns);
    const float top = r.z[column];
    float sum = 0.0f;
    for (int c = r.lane; c < p.columns; c += kWarpSize) {
      const float z = r.z[c], magnitude = fabsf(z);
      const float ratio = rounded(rounded(top - z, precision) / (magnitude < top ? top : magnitude), precision);
      // Columns taken in earlier rounds add exp(-Inf) = 0; their key is 0, and this round's own is not yet counted.
      if (!(ratio > p.sparsemixer_limit)) sum += r.keys[c] != 0 || c == column ? expf(z - top) : 0.0f;
    }
    sum = warp_sum(sum);
    if (r.lane == 0) {
      r.ids[j] = column;
      r.weights[j] = rounded(expf(top - top) / sum, precision);
    }
  }
  __syncwarp();
}

}  // namespace

MOEKIT_CUDA_KERNEL(moekit_sparsemixer, SelectParams, kSelectThreads) {
  SharedMemory shared;
  const Row row = row_of_warp(p, shared);
  if (row.token >= p.tokens) return;
  const bool nan = finish_logits(row);
  sparsemixer(row);
  finish_weights(row, nan);
}

}  // namespace moekit::cuda
