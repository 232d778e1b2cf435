// SPDX-License-Identifier: Apache-2.0
#include "backends/cuda/blas_api.h"

#include <dlfcn.h>

#include "backends/cuda/library.h"
#include "moekit/error.h"

namespace moekit::cuda {
namespace {

struct Opened {
  BlasApi table;
  std::string reason;  // empty: usable
};

Opened open_blas() {
  // 12.5 is the first with the grouped product.
  const Library library = open_library({"libcublas.so.13", "libcublas.so.12"});
  Opened opened;
  opened.reason = library.error;
  if (library.handle == nullptr) return opened;
  const auto find = [&](auto& member, const char* name) {
    member = reinterpret_cast<std::remove_reference_t<decltype(member)>>(dlsym(library.handle, name));
    if (member == nullptr && opened.reason.empty())
      opened.reason = library.path + " lacks " + name + ": cuBLAS 12.5 or later is needed";
  };
#define MOEKIT_CUDA_FIND(member, name, params) find(opened.table.member, #name);
  MOEKIT_CUDA_BLAS_FUNCTIONS(MOEKIT_CUDA_FIND)
#undef MOEKIT_CUDA_FIND
  find(opened.table.status_name, "cublasGetStatusName");
  find(opened.table.status_text, "cublasGetStatusString");
  return opened;
}

}  // namespace

const BlasApi* blas_api(std::string* reason) {
  static const Opened opened = open_blas();
  if (opened.reason.empty()) return &opened.table;
  *reason = opened.reason;
  return nullptr;
}

void check(const BlasApi& blas, BlasStatus status, const char* call) {
  if (status == kBlasSuccess) return;
  throw DeviceError("[cuda] " + std::string(call) + ": " + blas.status_name(status) + " (" + std::to_string(status) +
                    "): " + blas.status_text(status));
}

}  // namespace moekit::cuda
