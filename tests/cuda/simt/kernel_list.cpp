// SPDX-License-Identifier: Apache-2.0
// The kernels of src/backends/cuda as compiled for the host, by name.
#include <cstring>

#include "backends/cuda/kernels.h"
#include "cuda/simt/launch.h"

#define X(name, Params) extern "C" const simt::KernelInfo name##_twin;
MOEKIT_CUDA_KERNELS(X)
#undef X

namespace simt {

const KernelInfo* find_kernel(const char* name) {
  static const KernelInfo* const list[] = {
#define X(kernel, Params) &kernel##_twin,
      MOEKIT_CUDA_KERNELS(X)
#undef X
  };
  for (const KernelInfo* kernel : list)
    if (std::strcmp(kernel->name, name) == 0) return kernel;
  return nullptr;
}

}  // namespace simt
