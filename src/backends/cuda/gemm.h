// SPDX-License-Identifier: Apache-2.0
// The grouped product on tensor cores, out = activation(input W^T), and why its bits do not depend on the batch.
//
// The weights are the 16-row operand of mma m16n8k16, the tokens its 8 columns. A warp owns two 16-row tiles of weights
// (gate and up of the same rows; ungated: two neighbours) and every token of the block's tile. Packed weights
// (pack.h) are already in the order of the fragments: a lane loads its 16 bytes straight into registers, once, as no
// other warp of the block needs them. Token rows are gathered by index with asynchronous copies into shared memory, a
// ring of stages; one barrier a stage.
//
// An output element is one chain of mma over its columns 0 .. 32 k_steps in ascending order, from zero, whatever
// the number of tokens in the tile: no split of the sum, and other columns of an mma do not enter an element. So the
// small tile of decode, the large one of prefill, and any batch give an element the same bits.
//
// Within a step of 32 columns the columns are dealt to fragments so that a lane's share is consecutive in memory:
// lane (g, q) takes columns 8 q .. 8 q + 7, the first mma its first four, the second the others. The order of products
// inside an mma is the hardware's anyway.
#pragma once

#include "backends/cuda/gemm_tile.h"
#include "backends/cuda/rows.h"

namespace moekit::cuda {

/// Geometry of a kernel for `kTokens` tokens a block.
template <int kTokens>
struct GemmShape {
  static constexpr int kStageSteps = stage_steps(kTokens);
  static constexpr int kStages = ring_stages(kTokens);
  static constexpr int kRingChunks = ring_bytes(kTokens) / 16;
  static constexpr int kRowChunks = kStageSteps * 4;  // of 16 bytes in a stage's row
  static constexpr int kStageChunks = kTokens * kRowChunks;
  static constexpr int kCopies = (kStageChunks + kGemmThreads - 1) / kGemmThreads;  // of one thread
  static_assert(kStageChunks % kGemmThreads == 0, "every thread copies as much as the others");
};

template <class Weights, bool kGated, int kTokens>
class GroupedGemm {
  using Shape = GemmShape<kTokens>;
  static constexpr int kColumnTiles = kTokens / 8;
  // Steps of which a lane loads its share at once, so that every load takes 16 bytes.
  static constexpr int kLoadSteps = Weights::kLoadSteps, kLoads = Shape::kStageSteps / kLoadSteps;
  using Stage = typename Weights::Raw[kLoads][2];

 public:
  MOEKIT_DEVICE GroupedGemm(const GemmParams& params, uint4* ring)
      : p_(params), ring_(ring), lane_(static_cast<int>(threadIdx.x) % kWarpSize) {
    const int warp = static_cast<int>(blockIdx.x) * kGemmWarps + static_cast<int>(threadIdx.x) / kWarpSize;
    row_tile_ = kGated ? warp : 2 * warp;
    active_ = row_tile_ < p_.row_tiles;
  }

  MOEKIT_DEVICE void run(const Tile& tile) {
    locate(tile);
    const int stages = (p_.k_steps + Shape::kStageSteps - 1) / Shape::kStageSteps;
    for (int s = 0; s < Shape::kStages - 1; ++s) issue(s, tile);
    float sums[2][kColumnTiles][4] = {};
    typename Weights::template Groups<kColumnTiles> groups(p_, tile, row_tile_, kGated, lane_);
    Stage now, next;
    load_weights(0, now);
    for (int s = 0; s < stages; ++s) {
      load_weights(s + 1, next);
      copy_async_wait<Shape::kStages - 2>();
      __syncthreads();  // stage s is there for all, and nobody reads stage s - 1, which the next copies overwrite
      issue(s + Shape::kStages - 1, tile);
      multiply(s, tile.rows, now, sums, groups);
#pragma unroll
      for (int i = 0; i < kLoads; ++i) {
        now[i][0] = next[i][0];
        now[i][1] = next[i][1];
      }
    }
    if (active_) groups.finish(2 * p_.k_steps, sums);
    copy_async_wait<0>();
    __syncthreads();  // the ring is free for the next tile
    if (active_) store(tile, sums);
  }

 private:
  // What this thread copies of each stage: rows are found once a tile.
  MOEKIT_DEVICE void locate(const Tile& tile) {
#pragma unroll
    for (int i = 0; i < Shape::kCopies; ++i) {
      const int row = (static_cast<int>(threadIdx.x) + i * kGemmThreads) / Shape::kRowChunks;
      const long long from = row < tile.rows ? input_row_of(p_, tile, tile.row + row) : 0;
      source_[i] = static_cast<const unsigned short*>(p_.input) + from * p_.input_stride;
    }
    const unsigned char* const gate = static_cast<const unsigned char*>(kGated ? p_.gate : p_.up);
    const unsigned char* const up = static_cast<const unsigned char*>(p_.up);
    const long long tile_bytes =
        static_cast<long long>((p_.k_steps + kLoadSteps - 1) / kLoadSteps) * Weights::kLoadBytes;
    const long long expert = tile.expert * p_.expert_bytes;
    weights_[0] = gate + expert + row_tile_ * tile_bytes;
    weights_[1] = up + expert + (kGated ? row_tile_ : row_tile_ + 1) * tile_bytes;
  }

  // Chunk `chunk` of row `row`, moved so that lanes that load together meet no bank twice: eight lanes of two rows and
  // four chunks each where a lane loads 16 bytes, sixteen lanes of four rows and two chunks each where it loads 8.
  static MOEKIT_DEVICE int place(int row, int chunk) {
    return row * Shape::kRowChunks + (chunk ^ (Weights::kHalves ? (row & 3) << 1 : (row & 1) << 2));
  }

  // Copies of a stage, one group; beyond the last stage an empty one, so that waiting counts on.
  MOEKIT_DEVICE void issue(int stage, const Tile& tile) {
    if (stage * Shape::kStageSteps < p_.k_steps) {
      uint4* const to = ring_ + (stage % Shape::kStages) * Shape::kStageChunks;
#pragma unroll
      for (int i = 0; i < Shape::kCopies; ++i) {
        const int index = static_cast<int>(threadIdx.x) + i * kGemmThreads;
        const int row = index / Shape::kRowChunks, chunk = index % Shape::kRowChunks;
        const int column = (stage * Shape::kRowChunks + chunk) * 8;
        const bool valid = row < tile.rows && column < p_.k_steps * 32;
        copy_async_16(to + place(row, chunk), source_[i] + (valid ? column : 0), valid);
      }
    }
    copy_async_commit();
  }

  MOEKIT_DEVICE void load_weights(int stage, Stage& to) const {
#pragma unroll
    for (int i = 0; i < kLoads; ++i) {
      const int at = stage * kLoads + i;
      if (!active_ || at * kLoadSteps >= p_.k_steps) continue;
#pragma unroll
      for (int tile = 0; tile < 2; ++tile)
        to[i][tile] = Weights::load(weights_[tile] + static_cast<long long>(at) * Weights::kLoadBytes, lane_);
    }
  }

  template <class Groups>
  MOEKIT_DEVICE void multiply(int stage, int rows, const Stage& weights, float (&sums)[2][kColumnTiles][4],
                              Groups& groups) const {
    const uint4* const from = ring_ + (stage % Shape::kStages) * Shape::kStageChunks;
    if (!active_) return;
#pragma unroll
    for (int step = 0; step < Shape::kStageSteps; ++step) {
      const int at = stage * Shape::kStageSteps + step;
      if (at >= p_.k_steps) break;
      if constexpr (Weights::kHalves) {
        multiply_half<0>(from, step, at, rows, weights[step / kLoadSteps], sums, groups);
        multiply_half<1>(from, step, at, rows, weights[step / kLoadSteps], sums, groups);
      } else {
        multiply_step(from, step, rows, weights[step], sums);
      }
    }
  }

  MOEKIT_DEVICE void multiply_step(const uint4* from, int step, int rows, const typename Weights::Raw (&weights)[2],
                                   float (&sums)[2][kColumnTiles][4]) const {
    unsigned a[2][2][4];
    Weights::expand(weights[0], a[0]);
    Weights::expand(weights[1], a[1]);
#pragma unroll
    for (int n = 0; n < kColumnTiles; ++n) {
      if (8 * n >= rows) break;  // tokens that do not exist
      const uint4 b = from[place(8 * n + lane_ / 4, 4 * step + lane_ % 4)];
#pragma unroll
      for (int half = 0; half < 2; ++half) {
        mma_16816<Weights::kBf16>(sums[half][n], a[half][0], b.x, b.y);
        mma_16816<Weights::kBf16>(sums[half][n], a[half][1], b.z, b.w);
      }
    }
  }

  // 16 columns in their own order, as groups of quantised weights may be that short: lane (g, q) takes 4 q .. 4 q + 3.
  template <int kHalf, class Groups>
  MOEKIT_DEVICE void multiply_half(const uint4* from, int step, int at, int rows,
                                   const typename Weights::Raw (&weights)[2], float (&sums)[2][kColumnTiles][4],
                                   Groups& groups) const {
    const int q = lane_ % 4;
    groups.begin(2 * at + kHalf);
    unsigned a[2][4];
    Weights::template expand<kHalf>(weights[0], step % kLoadSteps, groups.zeros(0), a[0]);
    Weights::template expand<kHalf>(weights[1], step % kLoadSteps, groups.zeros(1), a[1]);
#pragma unroll
    for (int n = 0; n < kColumnTiles; ++n) {
      if (8 * n >= rows) break;
      const uint4* const chunk = from + place(8 * n + lane_ / 4, 4 * step + 2 * kHalf + q / 2);
      const uint2 b = reinterpret_cast<const uint2*>(chunk)[q % 2];
      groups.add(n, a, b);
    }
    groups.end(2 * at + kHalf, sums);
  }

  MOEKIT_DEVICE void store(const Tile& tile, const float (&sums)[2][kColumnTiles][4]) const {
#pragma unroll
    for (int n = 0; n < kColumnTiles; ++n) {
#pragma unroll
      for (int low = 0; low < 4; low += 2) {  // rows g and g + 8 of the 16
        const int column = 16 * row_tile_ + lane_ / 4 + 4 * low;
        if (kGated) {
          store_pair(tile, 8 * n, column, finish_gated(p_, tile.expert, column, sums[0][n][low], sums[1][n][low]),
                     finish_gated(p_, tile.expert, column, sums[0][n][low + 1], sums[1][n][low + 1]));
        } else {
#pragma unroll
          for (int half = 0; half < 2; ++half)
            store_pair(tile, 8 * n, column + 16 * half,
                       finish_plain(p_, tile.expert, column + 16 * half, sums[half][n][low]),
                       finish_plain(p_, tile.expert, column + 16 * half, sums[half][n][low + 1]));
        }
      }
    }
  }

  // A lane has one column of two tokens, 2 q and 2 q + 1. It trades one with the lane of the neighbouring column and
  // stores two columns of one token at once.
  MOEKIT_DEVICE void store_pair(const Tile& tile, int token, int column, float first, float second) const {
    const bool odd = (lane_ / 4) % 2 != 0;
    const float other = __shfl_xor_sync(kFullWarp, odd ? first : second, 4);
    token += 2 * (lane_ % 4) + (odd ? 1 : 0);
    if (token >= tile.rows) return;
    const float low = odd ? other : first, high = odd ? second : other;
    const long long at = (tile.row + token) * p_.out_stride + (column & ~1);
    if (p_.to == Element::kFloat32) {
      *reinterpret_cast<uint2*>(static_cast<float*>(p_.out) + at) = {__float_as_uint(low), __float_as_uint(high)};
    } else {
      *reinterpret_cast<unsigned*>(static_cast<unsigned short*>(p_.out) + at) =
          short_bits(low, p_.to) | short_bits(high, p_.to) << 16;
    }
  }

  const GemmParams& p_;
  uint4* const ring_;
  const int lane_;
  int row_tile_;
  bool active_;
  const unsigned short* source_[Shape::kCopies];
  const unsigned char* weights_[2];
};

template <class Weights, bool kGated, int kTokens>
MOEKIT_DEVICE void grouped_gemm(const GemmParams& p) {
  SharedMemory shared;
  GroupedGemm<Weights, kGated, kTokens> gemm(p, shared.take<uint4>(GemmShape<kTokens>::kRingChunks));
  const int tiles = tiles_of(p, kTokens);
  for (int t = static_cast<int>(blockIdx.y); t < tiles; t += static_cast<int>(gridDim.y))
    gemm.run(tile_at(p, t, kTokens));
}

}  // namespace moekit::cuda
