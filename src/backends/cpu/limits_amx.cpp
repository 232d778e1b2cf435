// SPDX-License-Identifier: Apache-2.0
#include "backends/cpu/gemm_amx.h"
#include "backends/cpu/limits.h"
#include "core/cpu_features.h"

namespace moekit::cpu {
namespace {

/// Four tile products a round into four accumulators (16 cycles each, latency 52), operands stay in their tiles.
std::int64_t tile_rounds(std::int64_t rounds, float* sink) noexcept {
  alignas(64) std::uint16_t tile[512];
  for (int i = 0; i < 512; ++i) tile[i] = static_cast<std::uint16_t>(0x3c00 + i % 64);  // 0.0078 to 0.0116
  _tile_loadd(4, tile, kLineBytes);
  _tile_loadd(5, tile, kLineBytes);
  _tile_loadd(6, tile, kLineBytes);
  _tile_loadd(7, tile, kLineBytes);
  _tile_zero(0);
  _tile_zero(1);
  _tile_zero(2);
  _tile_zero(3);
  for (std::int64_t r = 0; r < rounds; ++r) {
    _tile_dpbf16ps(0, 4, 6);
    _tile_dpbf16ps(1, 4, 7);
    _tile_dpbf16ps(2, 5, 6);
    _tile_dpbf16ps(3, 5, 7);
  }
  _tile_stored(0, sink, kLineBytes);
  _tile_stored(1, sink + 256, kLineBytes);
  _tile_stored(2, sink + 512, kLineBytes);
  _tile_stored(3, sink + 768, kLineBytes);
  return rounds * 4 * 16 * 16 * 32 * 2;
}

}  // namespace

extern const LimitKernels k_amx_limits;
constexpr LimitKernels k_amx_limits = {"amx",    kAvx512 | kAvx512Bf16 | kAmxBf16, nullptr, tile_rounds, amx_enter,
                                       amx_leave};

}  // namespace moekit::cpu
