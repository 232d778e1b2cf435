// SPDX-License-Identifier: Apache-2.0
// AMX emulated in plain loops: what the instructions do to the tiles of a thread, by Intel's architecture reference
// (318-433, "Intel AMX instruction set"), so that the sources of the kernels are compiled and run where the processor
// has none. What the processor answers with a fault is an EmulatedFault here, and so is what it would let pass though
// no kernel can mean it: rows that overlap in memory. For tests only.
#pragma once

#include <cstddef>
#include <stdexcept>

namespace moekit::emulated {

/// A tile instruction that faults. Out of a kernel, which is noexcept, it ends the program with its message.
struct EmulatedFault : std::logic_error {
  using std::logic_error::logic_error;
};

/// 64 bytes of configuration; all tiles become zero. Palette 0 releases. Faults: another palette than 0 and 1; more
/// than 16 rows or 64 bytes a row; rows without bytes or the other way round; anything in the reserved bytes or for
/// tiles 8 to 15.
void tile_loadconfig(const void* config);
void tile_release() noexcept;
/// Whether the calling thread has a configuration.
bool tile_configured() noexcept;

/// Faults of all that follow: no configuration; a tile beyond 7 or without rows.
/// Strides are in bytes. Fault: shorter than a row of the tile.
void tile_loadd(int tile, const void* base, std::ptrdiff_t stride);
void tile_stored(int tile, void* base, std::ptrdiff_t stride);
void tile_zero(int tile);

/// c += a b. Faults of products: the same tile twice, rows of c and a or columns of c and b that differ, k of a and b
/// that differ, rows that are not whole elements of four bytes.
/// bfloat16 pairs: even and odd k are two chains of fused multiply-adds from zero, their sum is added to c.
/// Subnormal operands and results are zeros, rounding is to nearest even whatever MXCSR says.
void tile_dpbf16ps(int c, int a, int b);
/// Bytes in groups of four, int32 sums that wrap: signed or unsigned a, then signed or unsigned b.
void tile_dpbssd(int c, int a, int b);
void tile_dpbsud(int c, int a, int b);
void tile_dpbusd(int c, int a, int b);
void tile_dpbuud(int c, int a, int b);

}  // namespace moekit::emulated
