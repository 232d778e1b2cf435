// SPDX-License-Identifier: Apache-2.0
// Compiled by nvcc only for the stand-in to look into: limits and parameters as a real compiler writes them.
#include "probe.h"

using namespace moekit::standin;

extern "C" __global__ void __launch_bounds__(256) moekit_probe_add(const AddParams p) {
  const int i = static_cast<int>(blockIdx.x * blockDim.x + threadIdx.x);
  if (i < p.count) p.sum[i] = p.a[i] + p.b[i];
}

extern "C" __global__ void moekit_probe_fill(const FillParams p) {
  __shared__ float value[64];
  if (threadIdx.x < 64) value[threadIdx.x] = p.value;
  __syncthreads();
  const int i = static_cast<int>(blockIdx.x * blockDim.x + threadIdx.x);
  if (i < p.count) p.out[i] = value[threadIdx.x % 64];
}
