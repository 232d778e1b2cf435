// SPDX-License-Identifier: Apache-2.0
#include "kit_kernels.h"

#include "backends/cuda/device.h"

namespace moekit::kit {
namespace {

using namespace moekit::cuda;

MOEKIT_DEVICE unsigned mapped(Op op, unsigned in) {
  const float x = __uint_as_float(in);
  switch (op) {
    case Op::kToBf16: return bf16_bits(x);
    case Op::kFromBf16: return __float_as_uint(bf16_value(in & 0xffffu));
    case Op::kToF16: return f16_bits(x);
    case Op::kFromF16: return __float_as_uint(f16_value(in & 0xffffu));
    case Op::kExp: return __float_as_uint(expf(x));
    case Op::kLog1p: return __float_as_uint(log1pf(x));
    case Op::kSqrt: return __float_as_uint(sqrtf(x));
    case Op::kReciprocal: return __float_as_uint(reciprocal(x));
    case Op::kDivide: return __float_as_uint(x / 3.0f);
    case Op::kFma: return __float_as_uint(fmaf(x, 1.1f, 0.7f));
  }
  return 0;
}

}  // namespace

MOEKIT_CUDA_KERNEL(moekit_kit_mma, MmaParams, 32) {
  const int lane = static_cast<int>(threadIdx.x);
  for (int i = 0; i < p.cases; ++i) {
    const int at = i * kWarpSize + lane;
    unsigned a[4];
    float c[4];
    for (int j = 0; j < 4; ++j) {
      a[j] = p.a[at * 4 + j];
      c[j] = p.c[at * 4 + j];
    }
    if (p.bf16)
      mma_16816<true>(c, a, p.b[at * 2], p.b[at * 2 + 1]);
    else
      mma_16816<false>(c, a, p.b[at * 2], p.b[at * 2 + 1]);
    for (int j = 0; j < 4; ++j) p.out[at * 4 + j] = c[j];
  }
}

MOEKIT_CUDA_KERNEL(moekit_kit_copy, CopyParams, kCopyThreads) {
  SharedMemory shared;
  uint4* const ring = shared.take<uint4>(2 * kCopyThreads);
  const int thread = static_cast<int>(threadIdx.x);
  for (int group = 0; group < 2; ++group) {
    // Every third chunk is not copied: zeros.
    copy_async_16(ring + group * kCopyThreads + thread, p.in + (thread * 2 + group) * 4, (thread + group) % 3 != 0);
    copy_async_commit();
  }
  copy_async_wait<1>();
  __syncthreads();
  const uint4 first = ring[kCopyThreads - 1 - thread];
  copy_async_wait<0>();
  __syncthreads();
  const uint4 second = ring[2 * kCopyThreads - 1 - thread];
  uint4* const out = reinterpret_cast<uint4*>(p.out) + thread * 2;
  out[0] = first;
  out[1] = second;
}

MOEKIT_CUDA_KERNEL(moekit_kit_warp, WarpParams, 32) {
  const int lane = static_cast<int>(threadIdx.x);
  const unsigned value = p.in[lane];
  unsigned* const out = p.out + lane * kWarpWords;
  for (int i = 0; i < 5; ++i) out[i] = __shfl_xor_sync(kFullWarp, value, 1 << i);
  for (int i = 0; i < 5; ++i) out[5 + i] = __shfl_up_sync(kFullWarp, value, 1 << i);
  out[10] = __shfl_sync(kFullWarp, value, (lane * 7 + 3) % kWarpSize);
  out[11] = __ballot_sync(kFullWarp, (value & 1u) != 0);
  out[12] = __match_any_sync(kFullWarp, value % 5u);
  out[13] = __float_as_uint(warp_sum(static_cast<float>(value % 1000u) * 0.37f));
  out[14] = static_cast<unsigned>(__popc(value));
  const uint4 loaded = load_streaming(p.in + lane / 4 * 4);
  out[15] = loaded.x ^ loaded.w;
}

MOEKIT_CUDA_KERNEL(moekit_kit_map, MapParams, kMapThreads) {
  const int i = static_cast<int>(blockIdx.x * blockDim.x + threadIdx.x);
  if (i < p.count) p.out[i] = mapped(p.op, p.in[i]);
}

}  // namespace moekit::kit
