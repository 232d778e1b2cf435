// SPDX-License-Identifier: Apache-2.0
#include "backends/cuda/pack.h"

#include <cstring>
#include <vector>

#include "core/float_convert.h"

namespace moekit::cuda {

std::size_t packed_bytes(std::int64_t rows, std::int64_t cols, DType element) {
  const std::int64_t elements = checked_mul(padded(rows), padded(cols), "packed matrix");
  return static_cast<std::size_t>(
      checked_mul(elements, static_cast<std::int64_t>(dtype_size(element)), "packed matrix"));
}

void pack_plain(const MatrixView& matrix, DType element, std::byte* out) {
  const std::int64_t width = padded(matrix.cols), steps = width / kStepColumns;
  std::vector<float> row(static_cast<std::size_t>(matrix.cols));
  for (std::int64_t r = 0; r < matrix.rows; ++r) {
    load_as_float(matrix.data, matrix.dtype, r * matrix.row_stride, matrix.col_stride, matrix.cols, row.data());
    if (element == DType::kFloat32) {
      std::memcpy(out + static_cast<std::size_t>(r * width) * sizeof(float), row.data(), row.size() * sizeof(float));
      continue;
    }
    for (std::int64_t c = 0; c < matrix.cols; ++c)
      store_float(out, DType::kBFloat16, fragment_index(r, c, steps), row[static_cast<std::size_t>(c)]);
  }
}

void unpack_plain(const std::byte* packed, DType element, const MutableMatrixView& out) {
  const std::int64_t width = padded(out.cols), steps = width / kStepColumns;
  for (std::int64_t r = 0; r < out.rows; ++r)
    for (std::int64_t c = 0; c < out.cols; ++c) {
      const std::int64_t at = element == DType::kFloat32 ? r * width + c : fragment_index(r, c, steps);
      store_float(out.data, out.dtype, r * out.row_stride + c, load_as_float(packed, element, at));
    }
}

}  // namespace moekit::cuda
