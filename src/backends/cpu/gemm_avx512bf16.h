// SPDX-License-Identifier: Apache-2.0
// bfloat16 dot products of AVX512-BF16: pairs of k into float32 lanes, one chain an output element in the order of k.
#pragma once

#include <immintrin.h>

#include <utility>

#include "backends/cpu/bf16z_tiles.h"
#include "backends/cpu/kernels.h"
#include "backends/cpu/layout.h"
#include "backends/cpu/vec.h"

namespace moekit::cpu {
namespace {

/// Two bfloat16 for all columns.
MOEKIT_INLINE __m512bh pair_of(const std::byte* at) {
  using Words = std::int32_t __attribute__((vector_size(64)));
  return (__m512bh)(Words{} + load<std::int32_t>(at));
}

struct Avx512Bf16Gemm {
  using Activation = std::uint16_t;
  using V = F16;
  using U = U16;
  static constexpr std::int64_t kGroup = kBlockRows;
  static constexpr std::int64_t kSliceSteps = 12;  // as in FmaGemm
  static constexpr int kStreamedRows = 8;
  static constexpr std::int64_t kSegments = 1;
  // 8 rows x 2 tiles are 16 chains, enough for two dot units of latency 6, and leave room for the weights.
  static constexpr int kRows = 8;

  static constexpr bool kBf16Pairs = kBf16zParts == 1;  // not so emulated with narrower registers
  MOEKIT_INLINE static const std::byte* pair_at(const std::byte* row, int pair) { return row + pair * 4; }
  template <class Sums, class Pairs>
  MOEKIT_INLINE static Sums add_pair(Sums sums, Pairs weights, const std::byte* x) {
    const __m512 out = _mm512_dpbf16_ps(load<__m512>(&sums), load<__m512bh>(&weights), pair_of(x));
    return load<Sums>(&out);
  }
  MOEKIT_INLINE static F16 add_line(F16 sums, U16 weights, const std::byte* row, int line) {
    return add_pair(sums, weights, pair_at(row, line));
  }

  template <int R>
  static void rows(const std::byte* a, const std::byte* panel, std::int64_t steps, float* c, bool accumulate,
                   Upcoming& upcoming, std::int64_t lines) noexcept {
    __m512 acc[R][2];
#pragma GCC unroll 8
    for (int r = 0; r < R; ++r)
#pragma GCC unroll 2
      for (int tile = 0; tile < 2; ++tile)
        acc[r][tile] = accumulate ? load<__m512>(c + r * kPanelColumns + tile * 16) : __m512{};
    for (std::int64_t s = 0; s < steps; ++s, a += kSegmentBytes, panel += kStepBytes) {
      upcoming.step(lines);
#pragma GCC unroll 16
      for (int pair = 0; pair < 16; ++pair) {
        const auto b0 = load<__m512bh>(panel + pair * kLineBytes);
        const auto b1 = load<__m512bh>(panel + kSegmentBytes + pair * kLineBytes);
#pragma GCC unroll 8
        for (int r = 0; r < R; ++r) {
          const __m512bh ab = pair_of(a + r * kLineBytes + pair * 4);
          acc[r][0] = _mm512_dpbf16_ps(acc[r][0], b0, ab);
          acc[r][1] = _mm512_dpbf16_ps(acc[r][1], b1, ab);
        }
      }
    }
#pragma GCC unroll 8
    for (int r = 0; r < R; ++r) {
      store(c + r * kPanelColumns, acc[r][0]);
      store(c + r * kPanelColumns + 16, acc[r][1]);
    }
  }

  using RowsFn = void (*)(const std::byte*, const std::byte*, std::int64_t, float*, bool, Upcoming&,
                          std::int64_t) noexcept;
  template <int... R>
  static constexpr RowsFn pick(int count, std::integer_sequence<int, R...>) {
    constexpr RowsFn table[] = {rows<R + 1>...};
    return table[count - 1];
  }

  static void block(const std::byte* a, std::int64_t row_count, const std::byte* panel, std::int64_t steps, float* c,
                    bool accumulate, Upcoming upcoming) noexcept {
    const std::int64_t lines = upcoming.each(ceil_div(row_count, kRows), steps), each = even_share(row_count, kRows);
    for (std::int64_t r = 0; r < row_count; r += each) {
      const int count = static_cast<int>(row_count - r < each ? row_count - r : each);
      pick(count, std::make_integer_sequence<int, kRows>())(a + r * kLineBytes, panel, steps, c + r * kPanelColumns,
                                                            accumulate, upcoming, lines);
    }
  }
};

}  // namespace
}  // namespace moekit::cpu
