// SPDX-License-Identifier: Apache-2.0
// For kernels: plain weights of 16 bits, bfloat16 or float16.
#pragma once

#include "backends/cuda/gemm.h"

namespace moekit::cuda {

// 16 rows x 32 columns as two mma operands: 16 bytes a lane each, lane by lane.
template <bool kIsBf16>
struct ShortWeights {
  static constexpr bool kBf16 = kIsBf16, kHalves = false;
  static constexpr int kLoadSteps = 1, kLoadBytes = 2 * 32 * 16;
  // Plain weights have no groups.
  template <int kColumnTiles>
  struct Groups {
    MOEKIT_DEVICE Groups(const GemmParams&, const Tile&, int, bool, int) {}
    MOEKIT_DEVICE void finish(int, float (&)[2][kColumnTiles][4]) {}
  };
  struct Raw {
    uint4 v[2];
  };
  static MOEKIT_DEVICE Raw load(const unsigned char* tile, int lane) {
    return {{load_streaming(tile + 16 * lane), load_streaming(tile + 512 + 16 * lane)}};
  }
  static MOEKIT_DEVICE void expand(const Raw& raw, unsigned (&a)[2][4]) {
#pragma unroll
    for (int i = 0; i < 2; ++i) {
      a[i][0] = raw.v[i].x;
      a[i][1] = raw.v[i].y;
      a[i][2] = raw.v[i].z;
      a[i][3] = raw.v[i].w;
    }
  }
};

/// The kernels of one type.
#define MOEKIT_SHORT_GEMMS(type, Weights)                                       \
  MOEKIT_CUDA_KERNEL(moekit_gemm_##type##_gated_8, GemmParams, kGemmThreads) {  \
    grouped_gemm<Weights, true, kSmallTile>(p);                                 \
  }                                                                             \
  MOEKIT_CUDA_KERNEL(moekit_gemm_##type##_gated_64, GemmParams, kGemmThreads) { \
    grouped_gemm<Weights, true, kLargeTile>(p);                                 \
  }                                                                             \
  MOEKIT_CUDA_KERNEL(moekit_gemm_##type##_plain_8, GemmParams, kGemmThreads) {  \
    grouped_gemm<Weights, false, kSmallTile>(p);                                \
  }                                                                             \
  MOEKIT_CUDA_KERNEL(moekit_gemm_##type##_plain_64, GemmParams, kGemmThreads) { \
    grouped_gemm<Weights, false, kLargeTile>(p);                                \
  }

}  // namespace moekit::cuda
