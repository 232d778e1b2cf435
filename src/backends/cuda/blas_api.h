// SPDX-License-Identifier: Apache-2.0
// cuBLAS as moekit sees it: nothing is linked, libcublas.so.13 (or .12) is opened when a layer asks for it, from
// MOEKIT_CUDA_LIBRARY_PATH where that is set. Matrices are column-major there.
#pragma once

#include "backends/cuda/driver_api.h"

namespace moekit::cuda {

// The types of its C interface. tests/cuda compares them with <cublas_api.h> where a toolkit is found.
struct BlasObject;
using BlasHandle = BlasObject*;  // cublasHandle_t
using BlasStatus = int;          // cublasStatus_t
constexpr BlasStatus kBlasSuccess = 0;
constexpr int kOpN = 0, kOpT = 1;                          // cublasOperation_t
constexpr int kR32F = 0, kR16F = 2, kR16BF = 14;           // cudaDataType
constexpr int kCompute32F = 68, kCompute32FPedantic = 69;  // cublasComputeType_t; pedantic: no TF32

// X(member, exported name, parameters)
#define MOEKIT_CUDA_BLAS_FUNCTIONS(X)                                                                                 \
  X(create, cublasCreate_v2, (BlasHandle * handle))                                                                   \
  X(destroy, cublasDestroy_v2, (BlasHandle handle))                                                                   \
  X(set_stream, cublasSetStream_v2, (BlasHandle handle, StreamHandle stream))                                         \
  X(grouped_product, cublasGemmGroupedBatchedEx,                                                                      \
    (BlasHandle handle, const int* transa, const int* transb, const int* m, const int* n, const int* k,               \
     const void* alpha, const void* const* a, int a_type, const int* lda, const void* const* b, int b_type,           \
     const int* ldb, const void* beta, void* const* c, int c_type, const int* ldc, int groups, const int* group_size, \
     int compute))

struct BlasApi {
#define MOEKIT_CUDA_MEMBER(member, name, params) BlasStatus(*member) params = nullptr;
  MOEKIT_CUDA_BLAS_FUNCTIONS(MOEKIT_CUDA_MEMBER)
#undef MOEKIT_CUDA_MEMBER
  const char* (*status_name)(BlasStatus status) = nullptr;
  const char* (*status_text)(BlasStatus status) = nullptr;
};

/// The table, opened on first use and kept; null with `reason` set where there is no such library.
const BlasApi* blas_api(std::string* reason);

/// Throws DeviceError "[cuda] call: NAME (code): text" when `status` is not success.
void check(const BlasApi& blas, BlasStatus status, const char* call);

}  // namespace moekit::cuda
