// SPDX-License-Identifier: Apache-2.0
// Host rows with and without the gaps between them.
#pragma once

#include <cstring>

#include "moekit/core.h"

namespace moekit {

/// Rows of x (unit column stride, any row stride) one after the other.
inline void pack_rows(const MatrixView& x, void* target) noexcept {
  const auto size = static_cast<std::int64_t>(dtype_size(x.dtype));
  const auto row_bytes = static_cast<std::size_t>(x.cols * size);
  for (std::int64_t r = 0; r < x.rows; ++r)
    std::memcpy(static_cast<char*>(target) + static_cast<std::size_t>(r) * row_bytes,
                static_cast<const char*>(x.data) + r * x.row_stride * size, row_bytes);
}

/// The inverse: dense rows into those of y.
inline void unpack_rows(const void* source, const MutableMatrixView& y) noexcept {
  const auto size = static_cast<std::int64_t>(dtype_size(y.dtype));
  const auto row_bytes = static_cast<std::size_t>(y.cols * size);
  for (std::int64_t r = 0; r < y.rows; ++r)
    std::memcpy(static_cast<char*>(y.data) + r * y.row_stride * size,
                static_cast<const char*>(source) + static_cast<std::size_t>(r) * row_bytes, row_bytes);
}

}  // namespace moekit
