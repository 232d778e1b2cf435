// SPDX-License-Identifier: Apache-2.0
// Tensors that are read on demand: in memory or in a file. Packing asks for one expert matrix at a time, so that the
// source of a layer is never held twice.
#pragma once

#include <cstddef>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "moekit/core.h"

namespace moekit {

using ByteScratch = std::vector<std::byte>;

/// How the elements of a tensor lie in its storage: one after the other, or in blocks along each row that share scales.
/// Names of the blocks as in ggml, which defines their layouts.
enum class Encoding : std::uint8_t {
  kPlain,
  kQ4_0,
  kQ4_1,
  kQ5_0,
  kQ5_1,
  kQ8_0,
  kQ8_1,
  kQ2K,
  kQ3K,
  kQ4K,
  kQ5K,
  kQ6K,
  kQ8K,
  kIQ2XXS,
  kIQ2XS,
  kIQ3XXS,
  kIQ1S,
  kIQ4NL,
  kIQ3S,
  kIQ2S,
  kIQ4XS,
  kIQ1M,
  kTQ1_0,
  kTQ2_0,
  kMXFP4,
  kNVFP4,
  kQ1_0,
};

/// Elements and bytes of a block; kPlain has blocks of one element whose bytes are those of the dtype (0 here).
struct EncodingInfo {
  std::string_view name;  // "Q4_K", "plain"
  std::int64_t block = 1;
  std::size_t bytes = 0;
};
const EncodingInfo& encoding_info(Encoding encoding) noexcept;

/// Bytes that can be asked for by range.
class Storage {
 public:
  virtual ~Storage() = default;
  /// Pointer to `bytes` bytes from `offset` on, 8-byte aligned if offset is. Memory storage answers with its own
  /// memory; file storage reads into `scratch`, and the pointer lives until scratch is next used.
  /// Throws CheckpointError when the file is shorter than it was when opened.
  virtual const std::byte* read(std::size_t offset, std::size_t bytes, ByteScratch& scratch) const = 0;
};

/// A contiguous row-major tensor in a Storage.
struct TensorRef {
  std::string name;               // for error messages
  DType dtype = DType::kFloat32;  // of the elements; of what blocks decode to
  std::vector<std::int64_t> shape;
  std::shared_ptr<const Storage> storage;
  std::size_t offset = 0;                // bytes
  Encoding encoding = Encoding::kPlain;  // blocks divide the last extent of the shape

  explicit operator bool() const noexcept { return storage != nullptr; }
  std::int64_t elements() const;  // product of the shape
  std::size_t bytes() const;      // in storage
  /// The dtype's name, or that of the blocks.
  std::string_view type_name() const noexcept;
};

struct QuantTensors;  // quantised.h

/// A [rows, cols] matrix inside a tensor: element (r, c) is element `offset + r * row_stride + c * col_stride` of it.
/// A quantised one is not read by elements: `quant` says how, and src/formats/read.h reads it.
struct MatrixRef {
  TensorRef tensor;
  std::int64_t offset = 0;
  std::int64_t rows = 0;
  std::int64_t cols = 0;
  std::int64_t row_stride = 0;
  std::int64_t col_stride = 1;
  std::shared_ptr<const QuantTensors> quant = nullptr;

  explicit operator bool() const noexcept { return static_cast<bool>(tensor); }
  /// Reads the smallest byte range that holds the matrix. Throws CheckpointError for a quantised one.
  MatrixView read(ByteScratch& scratch) const;
};

/// A tensor over memory that `owner` keeps alive (null: the caller does).
TensorRef memory_tensor(std::string name, const void* data, DType dtype, std::vector<std::int64_t> shape,
                        std::shared_ptr<const void> owner = nullptr);
/// The whole of a 2-D tensor.
MatrixRef matrix_of(const TensorRef& tensor);
/// Expert `index` of a stacked [E, rows, cols] tensor; `transposed` when it is stored [E, cols, rows].
MatrixRef stacked_matrix(const TensorRef& tensor, std::int64_t index, bool transposed = false);
/// Rows first, first + step, ... (count of them) of a matrix.
MatrixRef row_slice(const MatrixRef& matrix, std::int64_t first, std::int64_t count, std::int64_t step = 1);

/// All elements as float32 (any floating dtype) or int64 (any integer dtype).
std::vector<float> read_float32(const TensorRef& tensor);
std::vector<std::int64_t> read_int64(const TensorRef& tensor);

}  // namespace moekit
