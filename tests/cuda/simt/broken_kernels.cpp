// SPDX-License-Identifier: Apache-2.0
#include "cuda/simt/broken_kernels.h"

#include "backends/cuda/device.h"

namespace simt::broken {
namespace {

using moekit::cuda::kFullWarp;
using moekit::cuda::SharedMemory;

constexpr unsigned kThreads = 128;

int thread() { return static_cast<int>(threadIdx.x); }

}  // namespace

extern float g_host_memory;
float g_host_memory = 0.0f;

#define MOEKIT_BROKEN_KERNEL(name) MOEKIT_CUDA_KERNEL(broken_##name, Params, kThreads)

// Mistake 1: the barrier between writing and reading is missing.
MOEKIT_BROKEN_KERNEL(reverse_in_block) {
  SharedMemory shared;
  float* const row = shared.take<float>(kThreads);
  row[thread()] = 0.0f;
  __syncthreads();
  row[thread()] = p.in[thread()];
  if (p.mistake != 1) __syncthreads();
  p.out[thread()] = row[static_cast<int>(kThreads) - 1 - thread()];
}

// Right: lanes exchange through registers only.
MOEKIT_BROKEN_KERNEL(sum_in_warp) { p.out[thread()] = moekit::cuda::warp_sum(p.in[thread()]); }

// Mistake 1: no __syncwarp between a lane's store and its neighbour's load. A shuffle orders no memory.
MOEKIT_BROKEN_KERNEL(exchange_in_warp) {
  SharedMemory shared;
  float* const row = shared.take<float>(kThreads);
  row[thread()] = 0.0f;
  __syncwarp();
  row[thread()] = p.in[thread()];
  if (p.mistake != 1) {
    __syncwarp();
  } else {
    __shfl_xor_sync(kFullWarp, 0u, 1);
  }
  p.out[thread()] = row[thread() ^ 1];
}

MOEKIT_BROKEN_KERNEL(ends_before_barrier) {
  if (p.mistake == 1 && thread() >= p.n) return;
  __syncthreads();
  p.out[thread()] = 1.0f;
}

// Mistake 1: half of each warp waits at the barrier, the other half in a collective of the whole warp.
MOEKIT_BROKEN_KERNEL(half_waits) {
  if (p.mistake == 1 && thread() % 32 < 16) __syncthreads();
  p.out[thread()] = __shfl_xor_sync(kFullWarp, p.in[thread()], 1);
}

// Mistake 1: the two halves name different masks. Mistake 2: a mask that names lanes which do not come.
MOEKIT_BROKEN_KERNEL(wrong_mask) {
  const bool low = thread() % 32 < 16;
  unsigned mask = low ? 0x0000ffffu : 0xffff0000u;
  if (p.mistake == 1) mask = low ? 0x0001ffffu : 0xffff0000u;
  if (p.mistake == 2) mask = kFullWarp;
  float value = p.in[thread()];
  if (p.mistake != 2 || low) value = __shfl_sync(mask, value, low ? 0 : 16);
  p.out[thread()] = value;
}

MOEKIT_BROKEN_KERNEL(reads_outside_mask) {
  float value = p.in[thread()];
  if (thread() % 32 < 16) value = __shfl_sync(0x0000ffffu, value, p.mistake == 1 ? 16 : 15);
  p.out[thread()] = value;
}

// Mistake 1: one element too many is read. 2: one before the first is written.
MOEKIT_BROKEN_KERNEL(overruns_global) {
  const int last = p.mistake == 1 ? p.n : p.n - 1;
  p.out[thread() - (p.mistake == 2 ? 1 : 0)] = p.in[last];
}

// Mistake 1: the first array is written one behind its end, where the second would begin on a device.
MOEKIT_BROKEN_KERNEL(overruns_shared) {
  SharedMemory shared;
  float* const first = shared.take<float>(kThreads);
  float* const second = shared.take<float>(kThreads);
  second[thread()] = 2.0f;
  first[thread() + (p.mistake == 1 ? 1 : 0)] = 1.0f;
  p.out[thread()] = second[thread()];
}

MOEKIT_BROKEN_KERNEL(takes_too_much_shared) {
  SharedMemory shared;
  float* const row = shared.take<float>(static_cast<int>(kThreads) + (p.mistake == 1 ? 4 : 0));
  row[thread()] = 1.0f;
  p.out[thread()] = row[thread()];
}

MOEKIT_BROKEN_KERNEL(reads_unwritten_shared) {
  SharedMemory shared;
  float* const row = shared.take<float>(kThreads);
  if (p.mistake != 1 || thread() != 77) row[thread()] = 1.0f;
  __syncthreads();
  p.out[thread()] = row[thread() ^ 1];
}

// Mistake 1: four floats at a time from an odd float on.
MOEKIT_BROKEN_KERNEL(misaligned_vector) {
  const auto* const vectors = reinterpret_cast<const float4*>(p.in + (p.mistake == 1 ? 1 : 0));
  const float4 v = vectors[thread() % 8];
  p.out[thread()] = v.x + v.w;
}

// Mistake 1: every block stores to the same place. 2: a block reads what another stores.
MOEKIT_BROKEN_KERNEL(blocks_race) {
  const int block = static_cast<int>(blockIdx.x), blocks = static_cast<int>(gridDim.x);
  if (thread() != 0) return;
  p.out[p.mistake == 1 ? 0 : block] = static_cast<float>(block);
  if (p.mistake == 2) p.out[blocks + block] = p.out[(block + 1) % blocks];
}

// Mistake 1: no wait. 2: no barrier behind the wait. 3: the wait leaves the last group out. 4: an address that is not
// aligned. 5: nothing waits at all, and nothing reads.
MOEKIT_BROKEN_KERNEL(copies_async) {
  SharedMemory shared;
  float* const row = shared.take<float>(4 * static_cast<int>(kThreads));
  copy_async_16(row + 4 * thread(), p.in + 4 * (thread() % 8) + (p.mistake == 4 ? 1 : 0), thread() != 3);
  copy_async_commit();
  if (p.mistake == 5) return;
  if (p.mistake == 3) moekit::cuda::copy_async_wait<1>();
  if (p.mistake != 1 && p.mistake != 3) moekit::cuda::copy_async_wait<0>();
  if (p.mistake != 2) __syncthreads();
  p.out[thread()] = row[4 * (thread() ^ 1)];
  moekit::cuda::copy_async_wait<0>();
}

MOEKIT_BROKEN_KERNEL(writes_host_memory) {
  if (p.mistake == 1) g_host_memory = p.in[0];
  p.out[thread()] = p.in[0];
}

}  // namespace simt::broken
