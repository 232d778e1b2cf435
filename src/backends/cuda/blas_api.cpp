// SPDX-License-Identifier: Apache-2.0
#include "backends/cuda/blas_api.h"

#include <dlfcn.h>

#include "core/environment.h"
#include "moekit/error.h"

namespace moekit::cuda {
namespace {

struct Opened {
  BlasApi table;
  std::string reason;  // empty: usable
};

// The library stays open: its functions are used until the process ends.
Opened open_blas() {
  Opened opened;
  const std::string folder = environment("MOEKIT_CUDA_LIBRARY_PATH");
  void* library = nullptr;
  std::string path;
  for (const char* name : {"libcublas.so.13", "libcublas.so.12"}) {  // 12.5 is the first with the grouped product
    path = folder.empty() ? name : folder + "/" + name;
    if (library = dlopen(path.c_str(), RTLD_NOW | RTLD_LOCAL); library != nullptr) break;
    const char* const error = dlerror();
    if (opened.reason.empty()) opened.reason = error != nullptr ? error : path;
  }
  if (library == nullptr) return opened;
  opened.reason.clear();
  const auto find = [&](auto& member, const char* name) {
    member = reinterpret_cast<std::remove_reference_t<decltype(member)>>(dlsym(library, name));
    if (member == nullptr && opened.reason.empty())
      opened.reason = path + " lacks " + name + ": cuBLAS 12.5 or later is needed";
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
