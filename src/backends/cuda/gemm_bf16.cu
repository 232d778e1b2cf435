// SPDX-License-Identifier: Apache-2.0
#include "backends/cuda/gemm.h"

namespace moekit::cuda {
namespace {

// 16 rows x 32 columns as two mma operands: 16 bytes a lane each, lane by lane.
struct Bf16Weights {
  static constexpr bool kBf16 = true, kHalves = false;
  // Plain weights have no groups.
  template <int kColumnTiles>
  struct Groups {
    MOEKIT_DEVICE Groups(const GemmParams&, const Tile&, int, bool, int) {}
    MOEKIT_DEVICE void finish(int, float (&)[2][kColumnTiles][4]) {}
  };
  static constexpr int kTileBytes = 2 * 32 * 16;
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

}  // namespace

MOEKIT_CUDA_KERNEL(moekit_gemm_bf16_gated_8, GemmParams, kGemmThreads) {
  grouped_gemm<Bf16Weights, true, kSmallTile>(p);
}
MOEKIT_CUDA_KERNEL(moekit_gemm_bf16_gated_64, GemmParams, kGemmThreads) {
  grouped_gemm<Bf16Weights, true, kLargeTile>(p);
}
MOEKIT_CUDA_KERNEL(moekit_gemm_bf16_plain_8, GemmParams, kGemmThreads) {
  grouped_gemm<Bf16Weights, false, kSmallTile>(p);
}
MOEKIT_CUDA_KERNEL(moekit_gemm_bf16_plain_64, GemmParams, kGemmThreads) {
  grouped_gemm<Bf16Weights, false, kLargeTile>(p);
}

}  // namespace moekit::cuda
