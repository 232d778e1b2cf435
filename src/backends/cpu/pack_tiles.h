// SPDX-License-Identifier: Apache-2.0
// Codes and scales to the streams of tile_format.h, and codes back.
#pragma once

#include <vector>

#include "backends/cpu/tile_format.h"
#include "formats/quant_rows.h"

namespace moekit::cpu {

/// Memory that packing uses again for the next tile. One a thread.
struct StreamScratch {
  std::vector<std::uint8_t> plane;  // codes of 16 rows, padded to whole steps
  std::vector<float> turned;
  std::vector<std::byte> scales, zeros, super_scales, super_mins;  // of 16 rows, as lanes
};

/// Rows [first, first + 16) of a quantised matrix (absent ones have scale zero), its codes in words or one a byte, to
/// one stream. `stream` is zero before.
void pack_stream(const QuantRows& matrix, std::int64_t first, const TileFormat& format, StreamScratch& scratch,
                 std::byte* stream);

/// The codes of a stream, one a byte, to rows [first, first + 16) of `out` (uint8), as far as it has them.
void unpack_codes(const TileFormat& format, const std::byte* stream, std::int64_t first, const MutableMatrixView& out);

}  // namespace moekit::cpu
