// SPDX-License-Identifier: Apache-2.0
#include "moekit/tensor.h"

#include <stdexcept>
#include <utility>

#include "core/float_convert.h"
#include "core/shape_text.h"
#include "moekit/error.h"

namespace moekit {
namespace {

class MemoryStorage final : public Storage {
 public:
  MemoryStorage(const void* data, std::shared_ptr<const void> owner)
      : data_(static_cast<const std::byte*>(data)), owner_(std::move(owner)) {}
  const std::byte* read(std::size_t offset, std::size_t, ByteScratch&) const override { return data_ + offset; }

 private:
  const std::byte* data_;
  std::shared_ptr<const void> owner_;
};

void expect_dims(const TensorRef& tensor, std::size_t dims, const char* operation) {
  if (tensor.shape.size() != dims)
    throw CheckpointError(std::string("[") + operation + "] " + tensor.name + ": shape " + shape_text(tensor.shape) +
                          ", expected " + std::to_string(dims) + " dimensions");
}

// Blocks are decoded by the formats; here their bytes would be taken for elements.
void expect_plain(const TensorRef& tensor, const char* operation) {
  if (tensor.encoding != Encoding::kPlain)
    throw CheckpointError(std::string("[") + operation + "] " + tensor.name + ": blocks of " +
                          std::string(tensor.type_name()) + ", expected plain elements");
}

}  // namespace

std::int64_t TensorRef::elements() const {
  std::int64_t count = 1;
  for (const std::int64_t extent : shape) count = checked_mul(count, extent, name);
  return count;
}

std::size_t TensorRef::bytes() const {
  if (encoding == Encoding::kPlain) return static_cast<std::size_t>(elements()) * dtype_size(dtype);
  const EncodingInfo& info = encoding_info(encoding);
  return static_cast<std::size_t>(elements() / info.block) * info.bytes;
}

std::string_view TensorRef::type_name() const noexcept {
  return encoding == Encoding::kPlain ? dtype_name(dtype) : encoding_info(encoding).name;
}

MatrixView MatrixRef::read(ByteScratch& scratch) const {
  expect_plain(tensor, "read");
  if (quant != nullptr) throw CheckpointError("[matrix] " + tensor.name + ": quantised, expected plain elements");
  const std::int64_t size = static_cast<std::int64_t>(dtype_size(tensor.dtype));
  if (rows == 0 || cols == 0) return {nullptr, tensor.dtype, rows, cols, row_stride, col_stride};
  // Strides of the sources are never negative, so the last element is the farthest.
  const std::int64_t last = (rows - 1) * row_stride + (cols - 1) * col_stride;
  const std::byte* data = tensor.storage->read(tensor.offset + static_cast<std::size_t>(offset * size),
                                               static_cast<std::size_t>((last + 1) * size), scratch);
  return {data, tensor.dtype, rows, cols, row_stride, col_stride};
}

TensorRef memory_tensor(std::string name, const void* data, DType dtype, std::vector<std::int64_t> shape,
                        std::shared_ptr<const void> owner) {
  TensorRef tensor{std::move(name), dtype, std::move(shape), nullptr, 0, Encoding::kPlain};
  checked_mul(tensor.elements(), static_cast<std::int64_t>(dtype_size(dtype)), tensor.name);
  tensor.storage = std::make_shared<MemoryStorage>(data, std::move(owner));
  return tensor;
}

MatrixRef matrix_of(const TensorRef& tensor) {
  expect_dims(tensor, 2, "matrix");
  return {tensor, 0, tensor.shape[0], tensor.shape[1], tensor.shape[1], 1};
}

MatrixRef stacked_matrix(const TensorRef& tensor, std::int64_t index, bool transposed) {
  expect_dims(tensor, 3, "stacked matrix");
  if (index < 0 || index >= tensor.shape[0])
    throw CheckpointError("[stacked matrix] " + tensor.name + ": expert " + std::to_string(index) + " of " +
                          std::to_string(tensor.shape[0]));
  const std::int64_t outer = tensor.shape[1], inner = tensor.shape[2];
  if (transposed) return {tensor, index * outer * inner, inner, outer, 1, inner};
  return {tensor, index * outer * inner, outer, inner, inner, 1};
}

MatrixRef row_slice(const MatrixRef& matrix, std::int64_t first, std::int64_t count, std::int64_t step) {
  // Divided instead of multiplied: (count - 1) * step may pass 2^63.
  if (first < 0 || count < 0 || step < 1 ||
      (count > 0 && (first >= matrix.rows || count - 1 > (matrix.rows - 1 - first) / step)))
    throw CheckpointError("[row slice] " + matrix.tensor.name + ": rows " + std::to_string(first) + " + " +
                          std::to_string(count) + " * " + std::to_string(step) + " of " + std::to_string(matrix.rows));
  MatrixRef slice = matrix;
  slice.offset += first * matrix.row_stride;
  slice.rows = count;
  slice.row_stride *= step;
  return slice;
}

std::vector<float> read_float32(const TensorRef& tensor) {
  expect_plain(tensor, "read");
  const std::int64_t count = tensor.elements();
  ByteScratch scratch;
  const std::byte* data =
      tensor.storage->read(tensor.offset, static_cast<std::size_t>(count) * dtype_size(tensor.dtype), scratch);
  std::vector<float> values(static_cast<std::size_t>(count));
  load_as_float(data, tensor.dtype, 0, 1, count, values.data());
  return values;
}

namespace {

template <class T>
void widen(const std::byte* data, std::vector<std::int64_t>& out) {
  for (std::size_t i = 0; i < out.size(); ++i) {
    T value;
    std::memcpy(&value, data + i * sizeof(T), sizeof(T));
    out[i] = static_cast<std::int64_t>(value);
  }
}

}  // namespace

std::vector<std::int64_t> read_int64(const TensorRef& tensor) {
  expect_plain(tensor, "integers");
  const std::int64_t count = tensor.elements();
  ByteScratch scratch;
  const std::byte* data =
      tensor.storage->read(tensor.offset, static_cast<std::size_t>(count) * dtype_size(tensor.dtype), scratch);
  std::vector<std::int64_t> values(static_cast<std::size_t>(count));
  switch (tensor.dtype) {
    case DType::kInt64: widen<std::int64_t>(data, values); break;
    case DType::kInt32: widen<std::int32_t>(data, values); break;
    case DType::kInt16: widen<std::int16_t>(data, values); break;
    case DType::kInt8: widen<std::int8_t>(data, values); break;
    case DType::kUInt64: widen<std::uint64_t>(data, values); break;
    case DType::kUInt32: widen<std::uint32_t>(data, values); break;
    case DType::kUInt16: widen<std::uint16_t>(data, values); break;
    case DType::kUInt8:
    case DType::kBool: widen<std::uint8_t>(data, values); break;
    default:
      throw CheckpointError("[integers] " + tensor.name + ": dtype " + std::string(dtype_name(tensor.dtype)) +
                            ", expected an integer");
  }
  return values;
}

}  // namespace moekit
