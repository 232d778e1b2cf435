// SPDX-License-Identifier: Apache-2.0
// The stand-in's cuBLAS has the functions, codes and types of the toolkit's header.
#include <cublas_api.h>
#include <gtest/gtest.h>

#include "cuda/runtime/alike.h"
#include "cuda/runtime/blas_api.h"

namespace moekit::standin {
namespace {

struct Declared {
#define X(name, params) static BlasStatus name params;
  MOEKIT_STANDIN_BLAS_FUNCTIONS(X)
#undef X
};
// The header declares cublasGemmEx twice for C++; the exported one takes a cublasComputeType_t.
using GemmEx = cublasStatus_t (*)(cublasHandle_t, cublasOperation_t, cublasOperation_t, int, int, int, const void*,
                                  const void*, cudaDataType, int, const void*, cudaDataType, int, const void*, void*,
                                  cudaDataType, int, cublasComputeType_t, cublasGemmAlgo_t);
[[maybe_unused]] constexpr GemmEx kGemmEx = &::cublasGemmEx;

static_assert(Alike<decltype(&Declared::cublasCreate_v2), decltype(&::cublasCreate_v2)>::value);
static_assert(Alike<decltype(&Declared::cublasDestroy_v2), decltype(&::cublasDestroy_v2)>::value);
static_assert(Alike<decltype(&Declared::cublasSetStream_v2), decltype(&::cublasSetStream_v2)>::value);
static_assert(Alike<decltype(&Declared::cublasSetWorkspace_v2), decltype(&::cublasSetWorkspace_v2)>::value);
static_assert(Alike<decltype(&Declared::cublasSetMathMode), decltype(&::cublasSetMathMode)>::value);
static_assert(Alike<decltype(&Declared::cublasGemmEx), GemmEx>::value);
static_assert(Alike<decltype(&Declared::cublasGemmGroupedBatchedEx), decltype(&::cublasGemmGroupedBatchedEx)>::value);

TEST(BlasDeclarations, ConstantsAreTheToolkits) {
#define X(name, number) EXPECT_EQ(number, CUBLAS_STATUS_##name);
  MOEKIT_STANDIN_BLAS_STATUS(X)
#undef X
  EXPECT_EQ(kOpN, CUBLAS_OP_N);
  EXPECT_EQ(kOpT, CUBLAS_OP_T);
  EXPECT_EQ(kR32F, CUDA_R_32F);
  EXPECT_EQ(kR16F, CUDA_R_16F);
  EXPECT_EQ(kR16BF, CUDA_R_16BF);
  EXPECT_EQ(kCompute32F, CUBLAS_COMPUTE_32F);
  EXPECT_EQ(kCompute32FPedantic, CUBLAS_COMPUTE_32F_PEDANTIC);
  EXPECT_EQ(kCompute32FFastTf32, CUBLAS_COMPUTE_32F_FAST_TF32);
  EXPECT_EQ(kDefaultAlgorithm, CUBLAS_GEMM_DEFAULT);
}

}  // namespace
}  // namespace moekit::standin
