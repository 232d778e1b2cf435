// SPDX-License-Identifier: Apache-2.0
// The stand-in's cuBLAS: products are right, and what cuBLAS would refuse is refused.
#include <random>

#include "cuda/runtime/blas.h"
#include "cuda/runtime/session.h"

namespace moekit::standin {
namespace {

using namespace cuda;

class Blas : public Session {
 protected:
  void SetUp() override {
    Session::SetUp();
    stream_ = new_stream();
    ASSERT_EQ(cublasCreate_v2(&handle_), kBlas_SUCCESS);
    ASSERT_EQ(cublasSetStream_v2(handle_, stream_), kBlas_SUCCESS);
  }
  void TearDown() override {
    EXPECT_EQ(cublasDestroy_v2(handle_), kBlas_SUCCESS);
    EXPECT_CUDA(cuStreamDestroy_v2(stream_));
    Session::TearDown();
  }
  float* random(std::size_t count) {
    std::vector<float> values(count);
    for (float& value : values) value = static_cast<float>(static_cast<int>(engine_() % 17) - 8);
    float* p = floats(count);
    upload(p, values);
    return p;
  }
  // C [m, n] of ld m = A^T B, A [k, m] of ld lda, B [k, n] of ld k: rows of tokens through a row-major weight matrix.
  BlasStatus gemm(const float* a, const float* b, float* c, int m, int n, int k, int lda) {
    const float alpha = 1.0f, beta = 0.0f;
    return cublasGemmEx(handle_, kOpT, kOpN, m, n, k, &alpha, a, kR32F, lda, b, kR32F, k, &beta, c, kR32F, m,
                        kCompute32F, kDefaultAlgorithm);
  }
  // The list of pointers as cuBLAS wants it, on the device.
  template <typename T>
  T* const* list(const std::vector<T*>& pointers) {
    float* p = floats(2 * pointers.size());
    EXPECT_CUDA(cuMemcpyHtoD_v2(device(p), pointers.data(), pointers.size() * sizeof(T*)));
    return reinterpret_cast<T* const*>(p);
  }
  BlasHandle handle_ = nullptr;
  StreamHandle stream_ = nullptr;
  std::mt19937 engine_{7};
};

TEST_F(Blas, OneProduct) {
  constexpr int kM = 5, kN = 3, kK = 8;
  float *a = random(kM * kK), *b = random(kN * kK), *c = floats(kM * kN);
  ASSERT_EQ(gemm(a, b, c, kM, kN, kK, kK), kBlas_SUCCESS);
  EXPECT_CUDA(cuStreamSynchronize(stream_));
  const std::vector<float> w = download(a, kM * kK), x = download(b, kN * kK), y = download(c, kM * kN);
  for (std::size_t t = 0; t < kN; ++t) {
    for (std::size_t r = 0; r < kM; ++r) {
      float sum = 0.0f;
      for (std::size_t i = 0; i < kK; ++i) sum += w[r * kK + i] * x[t * kK + i];
      EXPECT_EQ(y[t * kM + r], sum) << t << ", " << r;
    }
  }
}

TEST_F(Blas, GroupsAreProductsOfTheirOwn) {
  const int transa[] = {kOpT, kOpT}, transb[] = {kOpN, kOpN}, m[] = {4, 8}, n[] = {3, 1}, k[] = {8, 4};
  const int sizes[] = {2, 1};
  const float alpha[] = {1.0f, 1.0f}, beta[] = {0.0f, 0.0f};
  const std::vector<const float*> a = {random(32), random(32), random(32)}, b = {random(24), random(24), random(4)};
  const std::vector<float*> c = {floats(12), floats(12), floats(8)};
  const auto grouped = [&](const void* const* list_a, int type) {
    return cublasGemmGroupedBatchedEx(handle_, transa, transb, m, n, k, alpha, list_a, type, k,
                                      reinterpret_cast<const void* const*>(list(b)), type, k, beta,
                                      reinterpret_cast<void* const*>(list(c)), type, m, 2, sizes, kCompute32F);
  };
  const auto* on_device = reinterpret_cast<const void* const*>(list(a));
  ASSERT_EQ(grouped(on_device, kR32F), kBlas_SUCCESS);
  EXPECT_CUDA(cuStreamSynchronize(stream_));
  for (std::size_t i = 0; i < 3; ++i) {
    const std::size_t g = i < 2 ? 0 : 1, count = static_cast<std::size_t>(m[g] * n[g]);
    float* single = floats(count);
    ASSERT_EQ(gemm(a[i], b[i], single, m[g], n[g], k[g], k[g]), kBlas_SUCCESS);
    EXPECT_CUDA(cuStreamSynchronize(stream_));
    EXPECT_EQ(download(c[i], count), download(single, count)) << "product " << i;
  }
  EXPECT_EQ(grouped(reinterpret_cast<const void* const*>(a.data()), kR32F), kBlas_INVALID_VALUE)
      << "a list on the host";
  EXPECT_EQ(take_problems().size(), 1u);
  EXPECT_EQ(grouped(on_device, 8), kBlas_NOT_SUPPORTED) << "int8";
}

TEST_F(Blas, RefusesWhatCublasRefuses) {
  float *a = random(64), *b = random(64), *c = floats(64);
  EXPECT_EQ(gemm(a, b, c, 8, 4, 8, 7), kBlas_INVALID_VALUE) << "lda < k";
  EXPECT_EQ(gemm(a, b, c, -1, 4, 8, 8), kBlas_INVALID_VALUE);
  EXPECT_TRUE(take_problems().empty());
  EXPECT_EQ(gemm(a + 1, b, c, 4, 4, 8, 8), kBlas_INVALID_VALUE) << "4-byte alignment";
  EXPECT_EQ(gemm(a, b, c, 16, 8, 8, 8), kBlas_INVALID_VALUE) << "C is larger than its memory";
  std::vector<float> host(64);
  EXPECT_EQ(gemm(host.data(), b, c, 8, 8, 8, 8), kBlas_INVALID_VALUE);
  EXPECT_EQ(take_problems().size(), 3u);
  EXPECT_EQ(cublasSetStream_v2(nullptr, stream_), kBlas_NOT_INITIALIZED);
}

TEST_F(Blas, IsCapturedWithAWorkspaceOnly) {
  float *a = random(64), *b = random(64), *c = floats(64), *workspace = floats(1024);
  Graph graph = nullptr;
  ASSERT_CUDA(cuStreamBeginCapture_v2(stream_, 0));
  EXPECT_EQ(gemm(a, b, c, 8, 8, 8, 8), kBlas_INTERNAL_ERROR);
  EXPECT_EQ(cuStreamEndCapture(stream_, &graph), ERROR_STREAM_CAPTURE_INVALIDATED);
  ASSERT_EQ(cublasSetWorkspace_v2(handle_, workspace, 4096), kBlas_SUCCESS);
  ASSERT_CUDA(cuStreamBeginCapture_v2(stream_, 0));
  EXPECT_EQ(gemm(a, b, c, 8, 8, 8, 8), kBlas_SUCCESS);
  EXPECT_CUDA(cuStreamEndCapture(stream_, &graph));
  EXPECT_CUDA(cuGraphDestroy(graph));
}

TEST_F(Blas, FailsOnDemandAndByName) {
  float *a = random(64), *b = random(64), *c = floats(64);
  fail_call("cublasGemmEx", 1, kBlas_EXECUTION_FAILED);
  EXPECT_EQ(gemm(a, b, c, 8, 8, 8, 8), kBlas_EXECUTION_FAILED);
  EXPECT_STREQ(cublasGetStatusName(kBlas_EXECUTION_FAILED), "CUBLAS_STATUS_EXECUTION_FAILED");
  EXPECT_EQ(gemm(a, b, c, 8, 8, 8, 8), kBlas_SUCCESS);
}

}  // namespace
}  // namespace moekit::standin
