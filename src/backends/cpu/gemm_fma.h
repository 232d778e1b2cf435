// SPDX-License-Identifier: Apache-2.0
// float32 multiply-add kernel on the compiler's vector extensions, for float32 and bfloat16 weights and any vector
// width. One accumulator chain an output element, in the order of k: the same bits for any number of rows, and for any
// width where multiply-adds are fused (fma.h).
#pragma once

#include <utility>

#include "backends/cpu/kernels.h"
#include "backends/cpu/layout.h"
#include "backends/cpu/vec.h"

namespace moekit::cpu {
namespace {

// Spelt out for each width: GCC drops a vector attribute that depends on a template parameter.
template <int kBytes>
struct Lanes;
template <>
struct Lanes<16> {
  using F = float __attribute__((vector_size(16)));
  using U = std::uint32_t __attribute__((vector_size(16)));
};
template <>
struct Lanes<32> {
  using F = float __attribute__((vector_size(32)));
  using U = std::uint32_t __attribute__((vector_size(32)));
};
template <>
struct Lanes<64> {
  using F = float __attribute__((vector_size(64)));
  using U = std::uint32_t __attribute__((vector_size(64)));
};

/// kVectorBytes: of a register. kRows: rows in registers at once. kTiles: tiles (of 16 columns) at once.
/// kRows * kTiles * 64 / kVectorBytes accumulators should fill the register file but for a column of weights.
/// kWideRows: kRows of the kernel for float32 weights, to which many rows have bfloat16 ones widened.
template <class Weight, int kVectorBytes, int kRows, int kTiles, int kWideRows = kRows>
struct FmaGemm {
  using Wide = FmaGemm<float, kVectorBytes, kWideRows, kTiles>;
  using Activation = float;
  using V = typename Lanes<kVectorBytes>::F;
  using U = typename Lanes<kVectorBytes>::U;
  static constexpr std::int64_t kGroup = kBlockRows;
  // Slices that stay in the first-level cache are as fast or faster for more rows: at 64 tokens of a Qwen3-30B-A3B
  // layer 1.1 times with eight rows of AVX-512, 1.3 times with five of AVX2, and `generic` at one (1.5 times; Zen 4).
  static constexpr int kStreamedRows = kRows * kTiles / 4;
  // 24 KiB of weights: with the 6 KiB of eight rows that pass they fit the smallest first-level caches, of 32 KiB.
  static constexpr std::int64_t kSliceSteps = 12;
  static constexpr bool kBf16 = sizeof(Weight) == 2;
  static constexpr std::int64_t kSegments = kBf16 ? 2 : 1;
  static constexpr int kLanes = kVectorBytes / 4;
  static constexpr int kVectors = kTiles * 16 / kLanes;  // a row of accumulators
  static constexpr int kTileFloats = 256;                // 1 KiB

  static constexpr bool kBf16Pairs = kBf16;
  MOEKIT_INLINE static const std::byte* pair_at(const std::byte* row, int pair) {
    return row + pair / 8 * kSegmentBytes + pair % 8 * 8;
  }
  template <class Sums, class Pairs>
  MOEKIT_INLINE static Sums add_pair(Sums sums, Pairs weights, const std::byte* x) {
    const auto* pair = reinterpret_cast<const float*>(x);
    sums = cpu::multiply_add((Sums)(weights << 16), pair[0], sums);
    return cpu::multiply_add((Sums)(weights & 0xffff0000u), pair[1], sums);
  }
  MOEKIT_INLINE static V add_line(V sums, U weights, const std::byte* row, int line) {
    if constexpr (kBf16) return add_pair(sums, weights, pair_at(row, line));
    return cpu::multiply_add((V)weights, reinterpret_cast<const float*>(row)[line], sums);
  }

  template <int R>
  MOEKIT_INLINE static void multiply_add(V (&acc)[R][kVectors], const float* a, const V (&b)[kVectors]) {
#pragma GCC unroll 16
    for (int r = 0; r < R; ++r) {
      const float x = a[r * 16];
#pragma GCC unroll 8
      for (int v = 0; v < kVectors; ++v) acc[r][v] = cpu::multiply_add(b[v], x, acc[r][v]);
    }
  }

  /// Tiles [tile, tile + kTiles) of the panel times R rows of a block.
  template <int R>
  static void rows(const float* a, const float* panel, std::int64_t steps, int tile, float* c, bool accumulate,
                   Upcoming& upcoming, std::int64_t lines) noexcept {
    V acc[R][kVectors];
#pragma GCC unroll 16
    for (int r = 0; r < R; ++r)
#pragma GCC unroll 8
      for (int v = 0; v < kVectors; ++v)
        acc[r][v] = accumulate ? load<V>(c + r * kPanelColumns + tile * 16 + v * kLanes) : V{};
    const float* b = panel + tile * kTileFloats;
    for (std::int64_t s = 0; s < steps; ++s, b += 2 * kTileFloats) {
      upcoming.step(lines);
#pragma GCC unroll 16
      for (int line = 0; line < 16; ++line) {  // a k of float32, a pair of k of bfloat16
        V low[kVectors];
#pragma GCC unroll 8
        for (int v = 0; v < kVectors; ++v)
          low[v] = load<V>(b + v * kLanes / 16 * kTileFloats + line * 16 + v * kLanes % 16);
        if constexpr (kBf16) {
          V high[kVectors];
#pragma GCC unroll 8
          for (int v = 0; v < kVectors; ++v) {
            high[v] = (V)((U)low[v] & 0xffff0000u);
            low[v] = (V)((U)low[v] << 16);
          }
          const float* pair = a + line / 8 * kTileFloats + line % 8 * 2;
          multiply_add<R>(acc, pair, low);
          multiply_add<R>(acc, pair + 1, high);
        } else {
          multiply_add<R>(acc, a + line, low);
        }
      }
      a += kSegments * kTileFloats;
    }
#pragma GCC unroll 16
    for (int r = 0; r < R; ++r)
#pragma GCC unroll 8
      for (int v = 0; v < kVectors; ++v) store(c + r * kPanelColumns + tile * 16 + v * kLanes, acc[r][v]);
  }

  using RowsFn = void (*)(const float*, const float*, std::int64_t, int, float*, bool, Upcoming&,
                          std::int64_t) noexcept;
  template <int... R>
  static constexpr RowsFn pick(int count, std::integer_sequence<int, R...>) {
    constexpr RowsFn table[] = {rows<R + 1>...};
    return table[count - 1];
  }

  static void block(const std::byte* a, std::int64_t row_count, const std::byte* panel, std::int64_t steps, float* c,
                    bool accumulate, Upcoming upcoming) noexcept {
    const std::int64_t lines = upcoming.each(ceil_div(row_count, kRows) * (2 / kTiles), steps);
    const std::int64_t each = even_share(row_count, kRows);
    const auto* rows_a = reinterpret_cast<const float*>(a);
    const auto* weights = reinterpret_cast<const float*>(panel);
    for (int tile = 0; tile < 2; tile += kTiles)
      for (std::int64_t r = 0; r < row_count; r += each) {
        const int count = static_cast<int>(row_count - r < each ? row_count - r : each);
        pick(count, std::make_integer_sequence<int, kRows>())(rows_a + r * 16, weights, steps, tile,
                                                              c + r * kPanelColumns, accumulate, upcoming, lines);
      }
  }
};

}  // namespace
}  // namespace moekit::cpu
