// SPDX-License-Identifier: Apache-2.0
// Codes and scales to the streams of tile_format.h.
#pragma once

#include <vector>

#include "backends/cpu/tile_format.h"
#include "formats/quant_rows.h"

namespace moekit::cpu {

/// Rows [first, first + 16) of a quantised matrix (absent ones have scale zero) to one stream. `stream` is zero before;
/// `plane` is scratch.
void pack_stream(const QuantRows& matrix, std::int64_t first, const TileFormat& format,
                 std::vector<std::uint8_t>& plane, std::byte* stream);

}  // namespace moekit::cpu
