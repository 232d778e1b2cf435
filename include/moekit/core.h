// SPDX-License-Identifier: Apache-2.0
// Element types, matrix views and process-wide settings: what every other room builds on.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

namespace moekit {

/// Element types of tensors in memory and in checkpoints (names as in the safetensors format).
enum class DType : std::uint8_t {
  kFloat64,
  kFloat32,
  kBFloat16,
  kFloat16,
  kFloat8E4M3,
  kFloat8E5M2,
  kFloat8E8M0,
  kInt64,
  kInt32,
  kInt16,
  kInt8,
  kUInt64,
  kUInt32,
  kUInt16,
  kUInt8,
  kBool,
};

/// Bytes of one element.
std::size_t dtype_size(DType dtype) noexcept;
/// The long name users write: "float32", "bfloat16", ...
std::string_view dtype_name(DType dtype) noexcept;
/// The inverse of dtype_name. Throws std::invalid_argument for an unknown name.
DType dtype_from_name(std::string_view name);

/// A read-only 2-D strided view. Strides count elements, not bytes; they may be 0 or negative.
struct MatrixView {
  const void* data = nullptr;
  DType dtype = DType::kFloat32;
  std::int64_t rows = 0;
  std::int64_t cols = 0;
  std::int64_t row_stride = 0;
  std::int64_t col_stride = 1;
};

/// A writable 2-D view with unit column stride: the outputs of layers.
struct MutableMatrixView {
  void* data = nullptr;
  DType dtype = DType::kFloat32;
  std::int64_t rows = 0;
  std::int64_t cols = 0;
  std::int64_t row_stride = 0;
};

/// a * b for sizes that come from outside. Throws std::invalid_argument naming `what` when the product passes 2^63 - 1
/// or an operand is negative.
std::int64_t checked_mul(std::int64_t a, std::int64_t b, std::string_view what);

/// Number of threads that layers use on the CPU (the calling thread included). `n` <= 0 restores the default: the CPUs
/// that the process may run on, limited by the cgroup CPU quota and by MOEKIT_NUM_THREADS. Results never depend on it.
void set_num_threads(int n);
int num_threads();

/// Version of the library, "major.minor.patch".
std::string_view version() noexcept;

}  // namespace moekit
