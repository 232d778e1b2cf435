// SPDX-License-Identifier: Apache-2.0
// One product of the stand-in's cuBLAS: what it must keep to, and how it is computed.
#pragma once

#include "cuda/runtime/blas_api.h"

namespace moekit::standin {

struct Product {
  int transa = kOpN, transb = kOpN;
  int m = 0, n = 0, k = 0;
  float alpha = 1.0f, beta = 0.0f;
  const void* a = nullptr;  // op(A) [m, k]
  const void* b = nullptr;  // op(B) [k, n]
  void* c = nullptr;        // [m, n]
  int lda = 0, ldb = 0, ldc = 0;
  int type = kR32F, c_type = kR32F;
};

/// Types and the way of computing that the grouped product of cuBLAS 13.1 takes.
bool types_supported(int a_type, int b_type, int c_type, int compute);
/// Sizes and leading dimensions.
bool sizes_valid(const Product& product);
/// Whether the three matrices start at multiples of 16 bytes and lie in memory of the device, whole.
bool matrices_valid(const Product& product, int device);
/// C = alpha op(A) op(B) + beta C, sums in float64 in ascending k.
void multiply(const Product& product);

}  // namespace moekit::standin
