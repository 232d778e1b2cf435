// SPDX-License-Identifier: Apache-2.0
// For kernels: sums of a group of quantised weights, on their way into the totals.
//
// Codes become bfloat16 values less their zero point, both exact, so an mma adds exact products; the scale multiplies
// the sum of a group, in float32. With minima, w = v s - m: the sum of the group's inputs, by an mma with ones, times m
// is taken off.
#pragma once

#include "backends/cuda/gemm.h"

namespace moekit::cuda {

template <int kColumnTiles>
class QuantGroups {
 public:
  MOEKIT_DEVICE QuantGroups(const GemmParams& p, const Tile& tile, int row_tile, bool gated, int lane)
      : p_(p), rows_(16 * p.row_tiles) {
    const long long expert = tile.expert * p.scale_stride;
    const int row = 16 * row_tile + lane / 4;
    at_[0] = expert + row;
    at_[1] = expert + row + (gated ? 0 : 16);
    scale_[0] = gated ? p.gate_scale : p.up_scale;
    scale_[1] = p.up_scale;
    zero_[0] = gated ? p.gate_zero : p.up_zero;
    zero_[1] = p.up_zero;
    clear();
  }

  /// Zero points of rows g and g + 8 of a tile.
  struct Zeros {
    float low, high;
  };
  MOEKIT_DEVICE Zeros zeros(int tile) const {
    return p_.minimum ? Zeros{0.0f, 0.0f} : Zeros{offset_[tile][0], offset_[tile][1]};
  }

  MOEKIT_DEVICE void begin(int half) {
    if (half % p_.group_halves != 0) return;
    const long long group = static_cast<long long>(half / p_.group_halves) * rows_;
#pragma unroll
    for (int tile = 0; tile < 2; ++tile) {
#pragma unroll
      for (int high = 0; high < 2; ++high) {
        const long long at = at_[tile] + group + 8 * high;
        factor_[tile][high] = scale_[tile][at];
        offset_[tile][high] = zero_[tile] != nullptr ? zero_[tile][at] : p_.constant_zero;
      }
    }
  }

  MOEKIT_DEVICE void add(int n, const unsigned (&a)[2][4], uint2 b) {
    mma_16816<true>(part_[0][n], a[0], b.x, b.y);
    mma_16816<true>(part_[1][n], a[1], b.x, b.y);
    if (!p_.minimum) return;
    constexpr unsigned kOnes = 0x3f803f80u;
    const unsigned ones[4] = {kOnes, kOnes, kOnes, kOnes};
    mma_16816<true>(inputs_[n], ones, b.x, b.y);
  }

  MOEKIT_DEVICE void end(int half, float (&sums)[2][kColumnTiles][4]) {
    if ((half + 1) % p_.group_halves == 0) flush(sums);
  }

  /// What the last, partial group holds; nothing where the last was whole.
  MOEKIT_DEVICE void finish(int halves, float (&sums)[2][kColumnTiles][4]) {
    if (halves % p_.group_halves != 0) flush(sums);
  }

 private:
  MOEKIT_DEVICE void clear() {
#pragma unroll
    for (int n = 0; n < kColumnTiles; ++n) {
#pragma unroll
      for (int r = 0; r < 4; ++r) part_[0][n][r] = part_[1][n][r] = inputs_[n][r] = 0.0f;
    }
  }

  MOEKIT_DEVICE void flush(float (&sums)[2][kColumnTiles][4]) {
#pragma unroll
    for (int tile = 0; tile < 2; ++tile) {
#pragma unroll
      for (int n = 0; n < kColumnTiles; ++n) {
#pragma unroll
        for (int r = 0; r < 4; ++r) {  // r / 2: row g or g + 8
          float sum = fmaf(factor_[tile][r / 2], part_[tile][n][r], sums[tile][n][r]);
          if (p_.minimum) sum = fmaf(-offset_[tile][r / 2], inputs_[n][r], sum);
          sums[tile][n][r] = sum;
        }
      }
    }
    clear();
  }

  const GemmParams& p_;
  const int rows_;
  long long at_[2];
  const float *scale_[2], *zero_[2];
  float factor_[2][2], offset_[2][2];
  float part_[2][kColumnTiles][4], inputs_[kColumnTiles][4];
};

/// Two values as bfloat16, the first in the low half. Exact for what codes hold.
MOEKIT_DEVICE unsigned bf16_pair(float low, float high) { return bf16_bits(low) | bf16_bits(high) << 16; }

/// Weights of one byte each: 16 bytes a lane and tile, for each half four columns of row g, then of row g + 8.
template <class Code>
struct ByteWeights {
  static constexpr bool kBf16 = true, kHalves = true;
  static constexpr int kLoadSteps = 1, kLoadBytes = 32 * 16;
  using Raw = uint4;
  template <int kColumnTiles>
  using Groups = QuantGroups<kColumnTiles>;
  static MOEKIT_DEVICE Raw load(const unsigned char* tile, int lane) { return load_streaming(tile + 16 * lane); }
  template <int kHalf, class Zeros>
  static MOEKIT_DEVICE void expand(const Raw& raw, int, Zeros zeros, unsigned (&a)[4]) {
    const unsigned low = kHalf == 0 ? raw.x : raw.z, high = kHalf == 0 ? raw.y : raw.w;
#pragma unroll
    for (int pair = 0; pair < 2; ++pair) {
      a[2 * pair] = bf16_pair(Code::value(low >> (16 * pair) & 0xffu) - zeros.low,
                              Code::value(low >> (16 * pair + 8) & 0xffu) - zeros.low);
      a[2 * pair + 1] = bf16_pair(Code::value(high >> (16 * pair) & 0xffu) - zeros.high,
                                  Code::value(high >> (16 * pair + 8) & 0xffu) - zeros.high);
    }
  }
};

/// Weights of four bits each: 16 bytes a lane for two tiles of neighbouring columns, a word for each half of 16.
/// Register i of the mma is the pair of bits 4 i .. 4 i + 3 and 16 + 4 i .. 16 + 4 i + 3.
template <class Code>
struct NibbleWeights {
  static constexpr bool kBf16 = true, kHalves = true;
  static constexpr int kLoadSteps = 2, kLoadBytes = 32 * 16;
  using Raw = uint4;
  template <int kColumnTiles>
  using Groups = QuantGroups<kColumnTiles>;
  static MOEKIT_DEVICE Raw load(const unsigned char* tiles, int lane) { return load_streaming(tiles + 16 * lane); }
  template <int kHalf, class Zeros>
  static MOEKIT_DEVICE void expand(const Raw& raw, int step, Zeros zeros, unsigned (&a)[4]) {
    const unsigned word = step == 0 ? (kHalf == 0 ? raw.x : raw.y) : (kHalf == 0 ? raw.z : raw.w);
#pragma unroll
    for (int i = 0; i < 4; ++i) {
      const float zero = i % 2 == 0 ? zeros.low : zeros.high;
      a[i] = bf16_pair(Code::value(word >> (4 * i) & 15u) - zero, Code::value(word >> (16 + 4 * i) & 15u) - zero);
    }
  }
};

/// The kernels of one code.
#define MOEKIT_QUANT_GEMMS(code, Weights)                                           \
  MOEKIT_CUDA_KERNEL(moekit_gemm_##code##_gated_8, GemmParams, kGemmThreads) {      \
    grouped_gemm<Weights, true, kSmallTile>(p);                                     \
  }                                                                                 \
  MOEKIT_CUDA_KERNEL(moekit_gemm_##code##_gated_32, GemmParams, kGemmThreads) {     \
    grouped_gemm<Weights, true, kLargeQuantTile>(p);                                \
  }                                                                                 \
  MOEKIT_CUDA_WIDE_KERNEL(moekit_gemm_##code##_plain_8, GemmParams, kGemmThreads) { \
    grouped_gemm<Weights, false, kSmallTile>(p);                                    \
  }                                                                                 \
  MOEKIT_CUDA_KERNEL(moekit_gemm_##code##_plain_32, GemmParams, kGemmThreads) {     \
    grouped_gemm<Weights, false, kLargeQuantTile>(p);                               \
  }

}  // namespace moekit::cuda
