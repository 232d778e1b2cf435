// SPDX-License-Identifier: Apache-2.0
#include "backends/cuda/library.h"

#include <dlfcn.h>

#include "core/environment.h"

namespace moekit::cuda {

Library open_library(std::initializer_list<const char*> names) {
  const std::string folder = environment("MOEKIT_CUDA_LIBRARY_PATH");
  Library library;
  for (const char* name : names) {
    library.path = folder.empty() ? name : folder + "/" + name;
    library.handle = dlopen(library.path.c_str(), RTLD_NOW | RTLD_LOCAL);
    if (library.handle != nullptr) {
      library.error.clear();
      break;
    }
    const char* const error = dlerror();
    if (library.error.empty()) library.error = error != nullptr ? error : library.path;
  }
  return library;
}

}  // namespace moekit::cuda
