// SPDX-License-Identifier: Apache-2.0
// libcublas.so.13 of the stand-in, over its driver.
#include <cstring>

#include "cuda/runtime/blas.h"
#include "cuda/runtime/blas_product.h"
#include "cuda/runtime/machine.h"

namespace moekit::cuda {

struct BlasObject {
  int device = 0;
  StreamHandle stream = nullptr;
  bool has_workspace = false;
};

}  // namespace moekit::cuda

namespace moekit::standin {
namespace {

std::set<BlasHandle>& handles() {
  static auto* const set = new std::set<BlasHandle>();
  return *set;
}

// The driver's answer in cuBLAS' codes.
BlasStatus status_of(int result) {
  switch (result) {
    case SUCCESS: return kBlas_SUCCESS;
    case ERROR_OUT_OF_MEMORY: return kBlas_ALLOC_FAILED;
    case ERROR_NOT_INITIALIZED: return kBlas_NOT_INITIALIZED;
    case ERROR_INVALID_CONTEXT: return kBlas_NOT_INITIALIZED;
    case ERROR_INVALID_HANDLE: return kBlas_MAPPING_ERROR;
    default: return kBlas_EXECUTION_FAILED;
  }
}

// What stands against a call; a status that a test asked for comes through as it is.
BlasStatus against(const Entry& entry) { return entry.asked_for ? entry.result : status_of(entry.result); }

// The stream of a call, or why there is none. A capture takes no call that would allocate its workspace.
BlasStatus ready(const Entry& entry, BlasHandle handle, cuda::StreamObject** stream) {
  if (entry.result != SUCCESS) return against(entry);
  if (handles().count(handle) == 0 || handle->device != entry.ordinal()) return kBlas_NOT_INITIALIZED;
  *stream = stream_of(entry, handle->stream);
  if (*stream == nullptr) return kBlas_MAPPING_ERROR;
  if ((*stream)->capture != nullptr && !handle->has_workspace) {
    (*stream)->capture->invalid = ERROR_STREAM_CAPTURE_INVALIDATED;
    return kBlas_INTERNAL_ERROR;
  }
  return kBlas_SUCCESS;
}

BlasStatus check(const Product& product, int device) {
  if (!sizes_valid(product)) return kBlas_INVALID_VALUE;
  if (matrices_valid(product, device)) return kBlas_SUCCESS;
  machine().problem("a matrix given to cuBLAS is not 16-byte aligned, or not whole in memory of the device");
  return kBlas_INVALID_VALUE;
}

}  // namespace

extern "C" {

BlasStatus cublasCreate_v2(BlasHandle* handle) {
  const Entry entry("cublasCreate_v2", Needs::kContextOutsideCapture);
  if (entry.result != SUCCESS) return against(entry);
  *handle = new cuda::BlasObject{entry.ordinal(), nullptr, false};
  handles().insert(*handle);
  return kBlas_SUCCESS;
}

BlasStatus cublasDestroy_v2(BlasHandle handle) {
  const Entry entry("cublasDestroy_v2", Needs::kDriver);
  if (entry.result != SUCCESS) return against(entry);
  if (handles().erase(handle) == 0) return kBlas_NOT_INITIALIZED;
  delete handle;
  return kBlas_SUCCESS;
}

// As in cuBLAS, a new stream takes the workspace away.
BlasStatus cublasSetStream_v2(BlasHandle handle, cuda::StreamHandle stream) {
  const Entry entry("cublasSetStream_v2", Needs::kDriver);
  if (entry.result != SUCCESS) return against(entry);
  if (handles().count(handle) == 0) return kBlas_NOT_INITIALIZED;
  handle->stream = stream;
  handle->has_workspace = false;
  return kBlas_SUCCESS;
}

BlasStatus cublasSetWorkspace_v2(BlasHandle handle, void* workspace, std::size_t bytes) {
  const Entry entry("cublasSetWorkspace_v2", Needs::kDriver);
  if (entry.result != SUCCESS) return against(entry);
  if (handles().count(handle) == 0) return kBlas_NOT_INITIALIZED;
  const bool valid = bytes == 0 || (reinterpret_cast<std::uintptr_t>(workspace) % 256 == 0 &&
                                    machine().memory.holds(workspace, bytes, handle->device));
  if (!valid) return kBlas_INVALID_VALUE;
  handle->has_workspace = bytes != 0;
  return kBlas_SUCCESS;
}

BlasStatus cublasSetMathMode(BlasHandle handle, int) {
  const Entry entry("cublasSetMathMode", Needs::kDriver);
  if (entry.result != SUCCESS) return against(entry);
  return handles().count(handle) != 0 ? kBlas_SUCCESS : kBlas_NOT_INITIALIZED;
}

BlasStatus cublasGemmEx(BlasHandle handle, int transa, int transb, int m, int n, int k, const void* alpha,
                        const void* a, int a_type, int lda, const void* b, int b_type, int ldb, const void* beta,
                        void* c, int c_type, int ldc, int compute, int) {
  const Entry entry("cublasGemmEx", Needs::kContext);
  cuda::StreamObject* stream = nullptr;
  if (const BlasStatus status = ready(entry, handle, &stream); status != kBlas_SUCCESS) return status;
  if (a_type != b_type || !(types_supported(a_type, a_type, a_type, compute) && (c_type == a_type || c_type == kR32F)))
    return kBlas_NOT_SUPPORTED;
  if (alpha == nullptr || beta == nullptr) return kBlas_INVALID_VALUE;
  Product p{transa, transb, m, n, k, 1, 0, a, b, c, lda, ldb, ldc, a_type, c_type};
  std::memcpy(&p.alpha, alpha, sizeof(float));
  std::memcpy(&p.beta, beta, sizeof(float));
  if (const BlasStatus status = check(p, entry.ordinal()); status != kBlas_SUCCESS) return status;
  return status_of(enqueue(entry, *stream, "cublasGemmEx", [p] { multiply(p); }));
}

// Sizes are read from the host when called; the lists of matrices lie on the device and are read when the stream comes
// to it, as in cuBLAS.
BlasStatus cublasGemmGroupedBatchedEx(BlasHandle handle, const int* transa, const int* transb, const int* m,
                                      const int* n, const int* k, const void* alpha, const void* const* a, int a_type,
                                      const int* lda, const void* const* b, int b_type, const int* ldb,
                                      const void* beta, void* const* c, int c_type, const int* ldc, int groups,
                                      const int* group_size, int compute) {
  const Entry entry("cublasGemmGroupedBatchedEx", Needs::kContext);
  cuda::StreamObject* stream = nullptr;
  if (const BlasStatus status = ready(entry, handle, &stream); status != kBlas_SUCCESS) return status;
  if (!types_supported(a_type, b_type, c_type, compute)) return kBlas_NOT_SUPPORTED;
  if (groups < 0) return kBlas_INVALID_VALUE;
  std::vector<Product> products;
  for (int g = 0; g < groups; ++g) {
    Product p{transa[g],
              transb[g],
              m[g],
              n[g],
              k[g],
              static_cast<const float*>(alpha)[g],
              static_cast<const float*>(beta)[g],
              nullptr,
              nullptr,
              nullptr,
              lda[g],
              ldb[g],
              ldc[g],
              a_type,
              c_type};
    if (!sizes_valid(p) || group_size[g] < 0) return kBlas_INVALID_VALUE;
    products.insert(products.end(), static_cast<std::size_t>(group_size[g]), p);
  }
  for (const void* list : {static_cast<const void*>(a), static_cast<const void*>(b), static_cast<const void*>(c)}) {
    if (products.empty() || machine().memory.holds(list, products.size() * sizeof(void*), entry.ordinal())) continue;
    machine().problem("cublasGemmGroupedBatchedEx: a list of matrices does not lie in memory of the device");
    return kBlas_INVALID_VALUE;
  }
  const int device = entry.ordinal();
  return status_of(enqueue(entry, *stream, "cublasGemmGroupedBatchedEx", [=] {
    for (std::size_t i = 0; i < products.size(); ++i) {
      Product p = products[i];
      p.a = a[i];
      p.b = b[i];
      p.c = c[i];
      if (check(p, device) == kBlas_SUCCESS) multiply(p);
    }
  }));
}

const char* cublasGetStatusName(BlasStatus status) {
  switch (status) {
#define X(name, number) \
  case number: return "CUBLAS_STATUS_" #name;
    MOEKIT_STANDIN_BLAS_STATUS(X)
#undef X
    default: return "CUBLAS_STATUS_UNKNOWN";
  }
}

const char* cublasGetStatusString(BlasStatus status) {
  return status == kBlas_SUCCESS ? "success" : "the stand-in's cuBLAS declined";
}

}  // extern "C"

}  // namespace moekit::standin
