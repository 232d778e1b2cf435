// SPDX-License-Identifier: Apache-2.0
// Scales and offsets of sixteen rows, turned so that a vector has one of each row.
#pragma once

#include <vector>

#include "backends/cpu/layout.h"

namespace moekit::cpu {

/// values [rows, width], of which rows first .. first + 15 are taken (absent ones are zero), to [width, 16] numbers of
/// the dtype, which the values are exactly (any NaN becomes one). `turned` is scratch.
void pack_lanes(const std::vector<float>& values, std::int64_t rows, std::int64_t width, std::int64_t first,
                DType dtype, std::vector<float>& turned, std::vector<std::byte>& out);

}  // namespace moekit::cpu
