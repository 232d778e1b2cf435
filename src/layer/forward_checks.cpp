// SPDX-License-Identifier: Apache-2.0
#include "layer/forward_checks.h"

#include <cstdlib>
#include <limits>
#include <stdexcept>
#include <string>

namespace moekit {
namespace {

[[noreturn]] void fail(const std::string& what) { throw std::invalid_argument("[forward] " + what); }

void check_columns(const char* name, std::int64_t seen, std::int64_t expected) {
  if (seen != expected)
    fail(std::string(name) + " has " + std::to_string(seen) + " columns, expected " + std::to_string(expected));
}

void check_memory(const char* name, const void* data, DType dtype, std::int64_t rows, std::int64_t cols,
                  std::int64_t row_stride) {
  if (data == nullptr) fail(std::string(name) + " has " + std::to_string(rows) + " rows but no memory");
  const std::size_t size = dtype_size(dtype);
  if (reinterpret_cast<std::uintptr_t>(data) % size != 0)
    fail(std::string(name) + " is not aligned to its elements of " + std::to_string(size) + " bytes");
  std::int64_t span = 0;
  if (row_stride == std::numeric_limits<std::int64_t>::min() ||
      __builtin_mul_overflow(rows, std::abs(row_stride) + cols, &span) ||
      __builtin_mul_overflow(span, static_cast<std::int64_t>(size), &span))
    fail(std::string(name) + " with " + std::to_string(rows) + " rows of stride " + std::to_string(row_stride) +
         " passes 2^63 - 1 bytes");
}

struct Range {
  std::uintptr_t begin, end;
};

Range byte_range(const void* data, DType dtype, std::int64_t rows, std::int64_t cols,
                 std::int64_t row_stride) noexcept {
  const auto size = static_cast<std::int64_t>(dtype_size(dtype));
  const auto start = reinterpret_cast<std::uintptr_t>(data);
  const std::int64_t last_row = (rows - 1) * row_stride * size;
  return {start + static_cast<std::uintptr_t>(last_row < 0 ? last_row : 0),
          start + static_cast<std::uintptr_t>((last_row > 0 ? last_row : 0) + cols * size)};
}

}  // namespace

void check_forward(const MoeLayer& layer, const MatrixView& x, const MutableMatrixView& y, const RoutingView* routing) {
  const BlockConfig& config = layer.config();
  check_columns("x", x.cols, config.expert.input);
  check_columns("y", y.cols, config.expert.output);
  if (x.rows < 0 || x.rows > std::numeric_limits<std::int32_t>::max())
    fail("x has " + std::to_string(x.rows) + " rows, expected 0 .. 2^31 - 1");
  if (x.rows != y.rows)
    fail("y has " + std::to_string(y.rows) + " rows, expected the " + std::to_string(x.rows) + " of x");
  if (!layer.takes(x.dtype))
    fail("x has dtype " + std::string(dtype_name(x.dtype)) + ", expected float32" +
         (layer.takes(DType::kFloat16) ? ", bfloat16 or float16" : " or bfloat16"));
  if (y.dtype != x.dtype)
    fail("y has dtype " + std::string(dtype_name(y.dtype)) + ", expected the " + std::string(dtype_name(x.dtype)) +
         " of x");
  if (x.cols > 1 && x.col_stride != 1) fail("x has column stride " + std::to_string(x.col_stride) + ", expected 1");
  if (y.rows > 1 && y.row_stride < y.cols)
    fail("y has row stride " + std::to_string(y.row_stride) + ", expected at least its " + std::to_string(y.cols) +
         " columns");
  if (routing != nullptr) {
    if (routing->tokens != x.rows || routing->top_k != config.router.top_k)
      fail("routing is [" + std::to_string(routing->tokens) + ", " + std::to_string(routing->top_k) + "], expected [" +
           std::to_string(x.rows) + ", " + std::to_string(config.router.top_k) + "]");
    if (x.rows > 0 && (routing->expert_ids == nullptr || routing->weights == nullptr)) fail("routing has no memory");
  }
  if (x.rows == 0) return;
  check_memory("x", x.data, x.dtype, x.rows, x.cols, x.row_stride);
  check_memory("y", y.data, y.dtype, y.rows, y.cols, y.row_stride);
}

bool memory_overlaps(const MatrixView& x, const MutableMatrixView& y) noexcept {
  if (x.rows == 0) return false;
  const Range a = byte_range(x.data, x.dtype, x.rows, x.cols, x.row_stride);
  const Range b = byte_range(y.data, y.dtype, y.rows, y.cols, y.row_stride);
  return a.begin < b.end && b.begin < a.end;
}

}  // namespace moekit
