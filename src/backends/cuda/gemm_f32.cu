// SPDX-License-Identifier: Apache-2.0
// The grouped product in float32 by multiply-adds: float32 experts, and every router. A warp takes four matrix rows
// (gated: two of gate and the same two of up) and eight tokens; its lanes share the columns, lane l columns 4 l .. 4 l
// + 3 of every 128. Weights are row-major, 32 k_steps columns.
//
// An output element is the sum of 32 chains of multiply-adds, ascending, added by a tree: a function of the number of
// columns alone, so its bits depend neither on the batch nor on the tile.
#include "backends/cuda/gemm_tile.h"

namespace moekit::cuda {
namespace {

constexpr int kRows = 4;  // matrix rows of a warp
constexpr int kTokens = kSmallTile;
static_assert(kRows * kTokens == kWarpSize, "every lane ends with one sum");

template <bool kGated>
MOEKIT_DEVICE void sum_products(const GemmParams& p, const Tile& tile, int row, int lane,
                                float (&sums)[kRows * kTokens]) {
  const int columns = p.k_steps * 32;
  const float* weight[kRows];
  const float* x[kTokens];
#pragma unroll
  for (int r = 0; r < kRows; ++r) {
    const unsigned char* const base = static_cast<const unsigned char*>(kGated && r < kRows / 2 ? p.gate : p.up);
    const long long at = row + (kGated ? r % (kRows / 2) : r);
    weight[r] = reinterpret_cast<const float*>(base + tile.expert * p.expert_bytes) + at * columns;
  }
#pragma unroll
  for (int t = 0; t < kTokens; ++t) {
    // Tokens that do not exist repeat the first: their sums are thrown away.
    const int sorted = tile.row + (t < tile.rows ? t : 0);
    x[t] = static_cast<const float*>(p.input) + input_row_of(p, tile, sorted) * p.input_stride;
  }
  for (int c = 4 * lane; c < columns; c += 4 * kWarpSize) {
    float4 w[kRows];
#pragma unroll
    for (int r = 0; r < kRows; ++r) w[r] = *reinterpret_cast<const float4*>(weight[r] + c);
#pragma unroll
    for (int t = 0; t < kTokens; ++t) {
      const float4 v = *reinterpret_cast<const float4*>(x[t] + c);
#pragma unroll
      for (int r = 0; r < kRows; ++r)
        sums[kTokens * r + t] =
            fmaf(w[r].w, v.w, fmaf(w[r].z, v.z, fmaf(w[r].y, v.y, fmaf(w[r].x, v.x, sums[kTokens * r + t]))));
    }
  }
}

// Adds 32 values over the lanes; lane l ends with the total of value l. Each round halves what a lane holds: it keeps
// the values whose index agrees with it in one bit and trades the others with the lane that differs in that bit, so 31
// shuffles do what a tree for each value would take 160 for.
template <int kCount>
MOEKIT_DEVICE float sum_over_lanes(const float (&values)[kCount], int lane) {
  if constexpr (kCount == 1) {
    return values[0];
  } else {
    constexpr int kHalf = kCount / 2;
    const bool upper = (lane & kHalf) != 0;
    float kept[kHalf];
#pragma unroll
    for (int i = 0; i < kHalf; ++i) {
      const float sent = upper ? values[i] : values[i + kHalf];
      kept[i] = (upper ? values[i + kHalf] : values[i]) + __shfl_xor_sync(kFullWarp, sent, kHalf);
    }
    return sum_over_lanes(kept, lane);
  }
}

template <bool kGated>
MOEKIT_DEVICE void run_tile(const GemmParams& p, const Tile& tile, int row, int lane) {
  float sums[kRows * kTokens] = {};
  sum_products<kGated>(p, tile, row, lane, sums);
  const float mine = sum_over_lanes(sums, lane);  // lane 8 r + t: row r, token t
  const float up = kGated ? __shfl_sync(kFullWarp, mine, (lane + kWarpSize / 2) % kWarpSize) : mine;
  const int token = lane % kTokens, column = row + lane / kTokens;
  if (token >= tile.rows || (kGated && lane >= kWarpSize / 2)) return;
  const float value =
      kGated ? finish_gated(p, tile.expert, column, mine, up) : finish_plain(p, tile.expert, column, up);
  static_cast<float*>(p.out)[(tile.row + token) * p.out_stride + column] = value;
}

template <bool kGated>
MOEKIT_DEVICE void grouped_gemm_f32(const GemmParams& p) {
  const int lane = static_cast<int>(threadIdx.x) % kWarpSize, warp = static_cast<int>(threadIdx.x) / kWarpSize;
  const int row = (static_cast<int>(blockIdx.x) * kGemmWarps + warp) * (kGated ? kRows / 2 : kRows);
  if (row >= 16 * p.row_tiles) return;
  const int tiles = tiles_of(p, kTokens);
  for (int t = static_cast<int>(blockIdx.y); t < tiles; t += static_cast<int>(gridDim.y))
    run_tile<kGated>(p, tile_at(p, t, kTokens), row, lane);
}

}  // namespace

MOEKIT_CUDA_KERNEL(moekit_gemm_f32_gated, GemmParams, kGemmThreads) { grouped_gemm_f32<true>(p); }
MOEKIT_CUDA_KERNEL(moekit_gemm_f32_plain, GemmParams, kGemmThreads) { grouped_gemm_f32<false>(p); }

}  // namespace moekit::cuda
