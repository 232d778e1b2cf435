// SPDX-License-Identifier: Apache-2.0
// The language of kernels for the host's compiler: what src/backends/cuda/device.h takes from the toolkit under nvcc.
// Everything that looks into the running block is defined elsewhere (intrinsics.cpp), which is compiled without
// instrumentation.
#pragma once

#include <cmath>
#include <cstddef>
#include <cstdint>
#include <cstring>

#include "cuda/simt/launch.h"

struct alignas(8) uint2 {
  unsigned x, y;
};
struct alignas(16) uint4 {
  unsigned x, y, z, w;
};
struct alignas(16) float4 {
  float x, y, z, w;
};

namespace simt {

Dim3 thread_index();
Dim3 block_index();
Dim3 block_size();
Dim3 grid_size();
std::byte* shared_array(unsigned index, std::size_t offset, std::size_t bytes);

std::uint32_t shuffle(unsigned mask, std::uint32_t value, int source_lane);
void mma_16816(float (&c)[4], const unsigned (&a)[4], unsigned b0, unsigned b1, bool bf16);

/// IEEE binary16 as bits; round to nearest even, NaN to a quiet one (half.cpp).
float half_value(unsigned bits);
unsigned half_bits(float value);

}  // namespace simt

#define threadIdx (simt::thread_index())
#define blockIdx (simt::block_index())
#define blockDim (simt::block_size())
#define gridDim (simt::grid_size())

void __syncthreads();
void __syncwarp(unsigned mask = 0xffffffffu);
unsigned __ballot_sync(unsigned mask, bool predicate);
unsigned __match_any_sync(unsigned mask, unsigned value);

inline int __popc(unsigned value) { return __builtin_popcount(value); }
inline unsigned __float_as_uint(float value) {
  unsigned bits;
  std::memcpy(&bits, &value, sizeof bits);
  return bits;
}
inline float __uint_as_float(unsigned bits) {
  float value;
  std::memcpy(&value, &bits, sizeof value);
  return value;
}
inline unsigned __shfl_sync(unsigned mask, unsigned value, int lane) { return simt::shuffle(mask, value, lane); }
unsigned __shfl_xor_sync(unsigned mask, unsigned value, int lanes);
unsigned __shfl_up_sync(unsigned mask, unsigned value, int lanes);
inline int __shfl_sync(unsigned mask, int value, int lane) {
  return static_cast<int>(__shfl_sync(mask, static_cast<unsigned>(value), lane));
}
inline int __shfl_xor_sync(unsigned mask, int value, int lanes) {
  return static_cast<int>(__shfl_xor_sync(mask, static_cast<unsigned>(value), lanes));
}
inline int __shfl_up_sync(unsigned mask, int value, int lanes) {
  return static_cast<int>(__shfl_up_sync(mask, static_cast<unsigned>(value), lanes));
}
inline float __shfl_sync(unsigned mask, float value, int lane) {
  return __uint_as_float(__shfl_sync(mask, __float_as_uint(value), lane));
}
inline float __shfl_xor_sync(unsigned mask, float value, int lanes) {
  return __uint_as_float(__shfl_xor_sync(mask, __float_as_uint(value), lanes));
}

/// cp.async: the copy happens when its group is waited for. Until then its target counts as not written.
void copy_async_16(void* shared, const void* global, bool valid);
void copy_async_commit();
void copy_async_wait_groups(unsigned pending);
