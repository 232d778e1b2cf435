// SPDX-License-Identifier: Apache-2.0
// cuBLAS as the stand-in gives it: what the library uses (backends/cuda/blas_api.h) and the product's plain relative,
// under their exported names.
#pragma once

#include <cstddef>

#include "backends/cuda/blas_api.h"

namespace moekit::standin {

using cuda::BlasHandle;
using cuda::BlasStatus;
using cuda::kCompute32F;
using cuda::kCompute32FPedantic;
using cuda::kOpN;
using cuda::kOpT;
using cuda::kR16BF;
using cuda::kR16F;
using cuda::kR32F;

// X(name, number)
#define MOEKIT_STANDIN_BLAS_STATUS(X) \
  X(SUCCESS, 0)                       \
  X(NOT_INITIALIZED, 1)               \
  X(ALLOC_FAILED, 3)                  \
  X(INVALID_VALUE, 7)                 \
  X(ARCH_MISMATCH, 8)                 \
  X(MAPPING_ERROR, 11)                \
  X(EXECUTION_FAILED, 13)             \
  X(INTERNAL_ERROR, 14)               \
  X(NOT_SUPPORTED, 15)
#define X(name, number) constexpr BlasStatus kBlas_##name = number;
MOEKIT_STANDIN_BLAS_STATUS(X)
#undef X

constexpr int kCompute32FFastTf32 = 77;  // cublasComputeType_t
constexpr int kDefaultAlgorithm = -1;    // cublasGemmAlgo_t

// X(name, parameters)
#define MOEKIT_STANDIN_BLAS_FUNCTIONS(X)                                                                              \
  X(cublasCreate_v2, (BlasHandle * handle))                                                                           \
  X(cublasDestroy_v2, (BlasHandle handle))                                                                            \
  X(cublasSetStream_v2, (BlasHandle handle, cuda::StreamHandle stream))                                               \
  X(cublasSetWorkspace_v2, (BlasHandle handle, void* workspace, std::size_t bytes))                                   \
  X(cublasSetMathMode, (BlasHandle handle, int mode))                                                                 \
  X(cublasGemmEx, (BlasHandle handle, int transa, int transb, int m, int n, int k, const void* alpha, const void* a,  \
                   int a_type, int lda, const void* b, int b_type, int ldb, const void* beta, void* c, int c_type,    \
                   int ldc, int compute, int algorithm))                                                              \
  X(cublasGemmGroupedBatchedEx, (BlasHandle handle, const int* transa, const int* transb, const int* m, const int* n, \
                                 const int* k, const void* alpha, const void* const* a, int a_type, const int* lda,   \
                                 const void* const* b, int b_type, const int* ldb, const void* beta, void* const* c,  \
                                 int c_type, const int* ldc, int groups, const int* group_size, int compute))

}  // namespace moekit::standin
