// SPDX-License-Identifier: Apache-2.0
// The list of weight formats by name. A format that weights can be brought into has a quantiser: one file each, one
// line each in formats.cpp.
#pragma once

#include <string>
#include <string_view>

#include "formats/quant_rows.h"
#include "moekit/weight_format.h"

namespace moekit {

struct FormatEntry {
  WeightFormat format;  // as `dtype=` asks for it; checkpoints have other group sizes and scales under the same name
  /// Rows of float32 [rows, cols] to codes and scales; `out` has its sizes and format set. Null: only read, never made.
  void (*quantise)(const float* rows, QuantRows& out) = nullptr;
};

/// Checks that a format of a known name is one that can be: for formats that come from files.
/// Throws std::invalid_argument naming the field, its value and the limit.
void validate(const WeightFormat& format);

/// Why a backend that has no compressed panels declines the formats; empty where none is compressed.
std::string compressed_reason(const BlockFormats& formats);
/// With plain formats in the place of compressed ones: how such a backend holds them that does not decline.
BlockFormats uncompressed(const BlockFormats& formats);

/// All formats, in the order in which they are documented.
const FormatEntry* weight_formats(std::size_t* count);
/// Throws std::invalid_argument listing the names that exist.
const FormatEntry& format_entry(std::string_view name);
/// The same, its format only.
inline const WeightFormat& weight_format(std::string_view name) { return format_entry(name).format; }

}  // namespace moekit
