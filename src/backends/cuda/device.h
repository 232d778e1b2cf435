// SPDX-License-Identifier: Apache-2.0
// The language of the kernels: CUDA C++ under nvcc; under the host's compiler the tests' emulation (tests/cuda/simt),
// which runs the same sources on the CPU and checks every access. For .cu files and what they include only.
//
// Kept inside what both can do: dynamic shared memory through SharedMemory, full-mask warp collectives, no atomics, no
// static __shared__, no inline assembly outside this file.
#pragma once

#if defined(__CUDACC__)

#include <cuda_bf16.h>
#include <cuda_fp16.h>

#include <cstddef>
#include <cstdint>

#define MOEKIT_DEVICE __device__ __forceinline__
// A kernel with one parameter `p`, a struct by value. The second form asks for two blocks a multiprocessor: asked for
// nothing, ptxas aims at three of 128 threads and may spill a few bytes for it.
#define MOEKIT_CUDA_KERNEL(name, Params, threads) \
  extern "C" __global__ void __launch_bounds__(threads) name(const __grid_constant__ Params p)
#define MOEKIT_CUDA_WIDE_KERNEL(name, Params, threads) \
  extern "C" __global__ void __launch_bounds__(threads, 2) name(const __grid_constant__ Params p)

#else

#include <cuda/simt/simt.h>

#define MOEKIT_DEVICE inline
#define MOEKIT_CUDA_KERNEL(name, Params, threads)                                                                      \
  static void name##_body(const Params& p);                                                                            \
  extern "C" const simt::KernelInfo name##_twin;                                                                       \
  const simt::KernelInfo name##_twin = {#name, sizeof(Params), threads,                                                \
                                        [](const void* params) { name##_body(*static_cast<const Params*>(params)); }}; \
  static void name##_body(const Params& p)
#define MOEKIT_CUDA_WIDE_KERNEL MOEKIT_CUDA_KERNEL

#endif

namespace moekit::cuda {

constexpr unsigned kFullWarp = 0xffffffffu;
constexpr int kWarpSize = 32;

/// Arrays of the block's dynamic shared memory, one behind the other at multiples of 16 bytes. All threads take the
/// same arrays in the same order.
class SharedMemory {
 public:
  template <class T>
  MOEKIT_DEVICE T* take(int count) {
    const unsigned bytes = (static_cast<unsigned>(count) * static_cast<unsigned>(sizeof(T)) + 15u) / 16u * 16u;
#if defined(__CUDACC__)
    extern __shared__ __align__(16) unsigned char moekit_shared_memory[];
    T* const array = reinterpret_cast<T*>(moekit_shared_memory + used_);
#else
    T* const array = reinterpret_cast<T*>(simt::shared_array(arrays_++, used_, bytes));
#endif
    used_ += bytes;
    return array;
  }

 private:
  unsigned used_ = 0;
#if !defined(__CUDACC__)
  unsigned arrays_ = 0;
#endif
};

// bfloat16 and float16 as their bits, in the low half of an unsigned.

MOEKIT_DEVICE float bf16_value(unsigned bits) { return __uint_as_float(bits << 16); }

/// Round to nearest even; NaN stays NaN.
MOEKIT_DEVICE unsigned bf16_bits(float value) {
#if defined(__CUDACC__)
  return __bfloat16_as_ushort(__float2bfloat16_rn(value));
#else
  const unsigned bits = __float_as_uint(value);
  if ((bits & 0x7fffffffu) > 0x7f800000u) return (bits >> 16) | 0x40u;
  return (bits + 0x7fffu + ((bits >> 16) & 1u)) >> 16;
#endif
}

MOEKIT_DEVICE float f16_value(unsigned bits) {
#if defined(__CUDACC__)
  return __half2float(__ushort_as_half(static_cast<unsigned short>(bits)));
#else
  return simt::half_value(bits);
#endif
}

/// Round to nearest even, beyond 65504 + 16 to infinity; NaN stays NaN.
MOEKIT_DEVICE unsigned f16_bits(float value) {
#if defined(__CUDACC__)
  return __half_as_ushort(__float2half_rn(value));
#else
  return simt::half_bits(value);
#endif
}

/// c += a b: m16n8k16, bfloat16 or float16 products, float32 sums (PTX ISA, "Matrix Fragments for mma.m16n8k16").
template <bool kBf16>
MOEKIT_DEVICE void mma_16816(float (&c)[4], const unsigned (&a)[4], unsigned b0, unsigned b1) {
#if defined(__CUDACC__)
  if constexpr (kBf16) {
    asm volatile(
        "mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 {%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, "
        "{%0, %1, %2, %3};"
        : "+f"(c[0]), "+f"(c[1]), "+f"(c[2]), "+f"(c[3])
        : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b0), "r"(b1));
  } else {
    asm volatile(
        "mma.sync.aligned.m16n8k16.row.col.f32.f16.f16.f32 {%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, "
        "{%0, %1, %2, %3};"
        : "+f"(c[0]), "+f"(c[1]), "+f"(c[2]), "+f"(c[3])
        : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b0), "r"(b1));
  }
#else
  simt::mma_16816(c, a, b0, b1, kBf16);
#endif
}

#if defined(__CUDACC__)
/// 16 bytes from global to shared memory without a detour through registers; zeros when not `valid`.
__device__ __forceinline__ void copy_async_16(void* shared, const void* global, bool valid) {
  const unsigned to = static_cast<unsigned>(__cvta_generic_to_shared(shared));
  asm volatile("cp.async.cg.shared.global [%0], [%1], 16, %2;" ::"r"(to), "l"(global), "r"(valid ? 16 : 0) : "memory");
}
__device__ __forceinline__ void copy_async_commit() { asm volatile("cp.async.commit_group;" ::: "memory"); }
#endif

/// Waits until at most kPending of the committed groups of this thread are under way.
template <int kPending>
MOEKIT_DEVICE void copy_async_wait() {
#if defined(__CUDACC__)
  asm volatile("cp.async.wait_group %0;" ::"n"(kPending) : "memory");
#else
  copy_async_wait_groups(kPending);
#endif
}

/// 16 bytes that are read once: they need no place in the first-level cache. 16-byte aligned, not written meanwhile.
MOEKIT_DEVICE uint4 load_streaming(const void* from) {
#if defined(__CUDACC__)
  uint4 v;
  asm("ld.global.nc.L1::no_allocate.v4.u32 {%0, %1, %2, %3}, [%4];"
      : "=r"(v.x), "=r"(v.y), "=r"(v.z), "=r"(v.w)
      : "l"(from));
  return v;
#else
  return *static_cast<const uint4*>(from);
#endif
}

/// 1 / y for y >= 1: two units in the last place, 0 from 2^126 on.
MOEKIT_DEVICE float reciprocal(float y) {
#if defined(__CUDACC__)
  return __fdividef(1.0f, y);
#else
  return 1.0f / y;
#endif
}

/// Sums over a warp by a tree: the same order in every lane, so the same bits.
MOEKIT_DEVICE float warp_sum(float value) {
  for (int lanes = kWarpSize / 2; lanes > 0; lanes /= 2) value += __shfl_xor_sync(kFullWarp, value, lanes);
  return value;
}

}  // namespace moekit::cuda
