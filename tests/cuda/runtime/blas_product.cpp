// SPDX-License-Identifier: Apache-2.0
#include "cuda/runtime/blas_product.h"

#include <cstdint>
#include <cstring>

#include "core/float_convert.h"
#include "cuda/runtime/machine.h"
#include "cuda/runtime/twins.h"

namespace moekit::standin {
namespace {

std::size_t bytes_of(int type) { return type == kR32F ? 4 : 2; }

double load(const void* matrix, int type, std::size_t at) {
  if (type == kR32F) return static_cast<const float*>(matrix)[at];
  const std::uint16_t bits = static_cast<const std::uint16_t*>(matrix)[at];
  return type == kR16BF ? bf16_to_float(bits) : fp16_to_float(bits);
}

void store(void* matrix, int type, std::size_t at, double value) {
  const auto number = static_cast<float>(value);
  if (type == kR32F)
    static_cast<float*>(matrix)[at] = number;
  else
    static_cast<std::uint16_t*>(matrix)[at] = type == kR16BF ? float_to_bf16(number) : float_to_fp16(number);
}

// Elements from the first to the last of a column-major matrix.
std::size_t extent(int rows, int cols, int ld) {
  return rows == 0 || cols == 0 ? 0 : static_cast<std::size_t>(cols - 1) * static_cast<std::size_t>(ld) + rows;
}

bool matrix_valid(const void* matrix, int type, int rows, int cols, int ld, int device) {
  const std::size_t bytes = extent(rows, cols, ld) * bytes_of(type);
  return bytes == 0 ||
         (reinterpret_cast<std::uintptr_t>(matrix) % 16 == 0 && machine().memory.holds(matrix, bytes, device));
}

}  // namespace

bool types_supported(int a_type, int b_type, int c_type, int compute) {
  if (a_type != b_type || c_type != a_type) return false;
  if (a_type == kR16F || a_type == kR16BF) return compute == kCompute32F;
  return a_type == kR32F &&
         (compute == kCompute32F || compute == kCompute32FPedantic || compute == kCompute32FFastTf32);
}

bool sizes_valid(const Product& p) {
  const auto operation = [](int op) { return op == kOpN || op == kOpT; };
  const auto at_least = [](int ld, int rows) { return ld >= 1 && ld >= rows; };
  return operation(p.transa) && operation(p.transb) && p.m >= 0 && p.n >= 0 && p.k >= 0 &&
         at_least(p.lda, p.transa == kOpN ? p.m : p.k) && at_least(p.ldb, p.transb == kOpN ? p.k : p.n) &&
         at_least(p.ldc, p.m);
}

bool matrices_valid(const Product& p, int device) {
  const bool ta = p.transa == kOpT, tb = p.transb == kOpT;
  return matrix_valid(p.a, p.type, ta ? p.k : p.m, ta ? p.m : p.k, p.lda, device) &&
         matrix_valid(p.b, p.type, tb ? p.n : p.k, tb ? p.k : p.n, p.ldb, device) &&
         matrix_valid(p.c, p.c_type, p.m, p.n, p.ldc, device);
}

void multiply(const Product& p) {
  const auto at = [](int row, int col, int ld) {
    return static_cast<std::size_t>(col) * static_cast<std::size_t>(ld) + static_cast<std::size_t>(row);
  };
  for (int j = 0; j < p.n; ++j) {
    for (int i = 0; i < p.m; ++i) {
      double sum = 0.0;
      for (int l = 0; l < p.k; ++l)
        sum += load(p.a, p.type, p.transa == kOpN ? at(i, l, p.lda) : at(l, i, p.lda)) *
               load(p.b, p.type, p.transb == kOpN ? at(l, j, p.ldb) : at(j, l, p.ldb));
      const std::size_t c = at(i, j, p.ldc);
      const double old = p.beta == 0.0f ? 0.0 : p.beta * load(p.c, p.c_type, c);  // beta 0: C is not read
      store(p.c, p.c_type, c, p.alpha * sum + old);
    }
    if (p.m > 0)
      note_written(static_cast<std::byte*>(p.c) + at(0, j, p.ldc) * bytes_of(p.c_type),
                   static_cast<std::size_t>(p.m) * bytes_of(p.c_type));
  }
}

}  // namespace moekit::standin
