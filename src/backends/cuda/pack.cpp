// SPDX-License-Identifier: Apache-2.0
#include "backends/cuda/pack.h"

#include <vector>

#include "core/float_convert.h"

namespace moekit::cuda {

std::size_t packed_bytes(std::int64_t rows, std::int64_t cols, DType element) {
  const std::int64_t elements = checked_mul(padded(rows), padded(cols), "packed matrix");
  return static_cast<std::size_t>(
      checked_mul(elements, static_cast<std::int64_t>(dtype_size(element)), "packed matrix"));
}

namespace {

// Where element (r, c) of a packed matrix is.
class Places {
 public:
  Places(std::int64_t cols, DType element, bool row_major)
      : width_(padded(cols)), row_major_(row_major || element == DType::kFloat32) {}
  std::int64_t operator()(std::int64_t r, std::int64_t c) const {
    return row_major_ ? r * width_ + c : fragment_index(r, c, width_ / kStepColumns);
  }

 private:
  std::int64_t width_;
  bool row_major_;
};

}  // namespace

void pack_plain(const MatrixView& matrix, DType element, bool row_major, std::byte* out) {
  const Places place(matrix.cols, element, row_major);
  std::vector<float> row(static_cast<std::size_t>(matrix.cols));
  for (std::int64_t r = 0; r < matrix.rows; ++r) {
    load_as_float(matrix.data, matrix.dtype, r * matrix.row_stride, matrix.col_stride, matrix.cols, row.data());
    for (std::int64_t c = 0; c < matrix.cols; ++c)
      store_float(out, element, place(r, c), row[static_cast<std::size_t>(c)]);
  }
}

void unpack_plain(const std::byte* packed, DType element, bool row_major, const MutableMatrixView& out) {
  const Places place(out.cols, element, row_major);
  for (std::int64_t r = 0; r < out.rows; ++r)
    for (std::int64_t c = 0; c < out.cols; ++c)
      store_float(out.data, out.dtype, r * out.row_stride + c, load_as_float(packed, element, place(r, c)));
}

}  // namespace moekit::cuda
