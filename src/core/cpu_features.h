// SPDX-License-Identifier: Apache-2.0
// What the processor and the kernel let this process use. Detection runs no instruction of the extensions it looks for.
#pragma once

#include <cstddef>
#include <cstdint>

namespace moekit {

enum CpuFeature : std::uint32_t {
  kAvx2 = 1u << 0,    // with FMA
  kAvx512 = 1u << 1,  // F, BW, VL, DQ
  kAvx512Bf16 = 1u << 2,
  kAmxBf16 = 1u << 3,  // with AMX-INT8, and the kernel's permission for tile state
  kNeon = 1u << 4,
  kAvx512Vnni = 1u << 5,
  kAvxVnni = 1u << 6,   // VNNI on 256 bits, without AVX-512
  kNeonDot = 1u << 7,   // products of bytes (FEAT_DotProd)
  kNeonI8mm = 1u << 8,  // matrix products of bytes (FEAT_I8MM)
  kNeonBf16 = 1u << 9,  // products of bfloat16 (FEAT_BF16)
  // Products of AVX512-BF16 that are no slower than float32 ones. Intel's VDPBF16PS starts every second cycle, which is
  // half the rate of its two VFMADD a cycle (0.17 against 0.33 TF/s on two cores, limits_bench).
  kFastAvx512Bf16 = 1u << 10,
  kAvx512Vbmi = 1u << 11,  // tables of bytes in registers
};

/// Features of the host; AMX only after the kernel granted the tile state (asked for once).
std::uint32_t cpu_features() noexcept;
/// Whether the processor has AMX but the kernel refused the tile state.
bool amx_refused() noexcept;
/// Bytes of the second-level cache of one core (1 MiB when it cannot be read).
std::size_t l2_cache_bytes() noexcept;

}  // namespace moekit
