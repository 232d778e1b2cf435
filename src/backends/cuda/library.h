// SPDX-License-Identifier: Apache-2.0
// NVIDIA's libraries, opened at run time.
#pragma once

#include <initializer_list>
#include <string>

namespace moekit::cuda {

struct Library {
  void* handle = nullptr;
  std::string path;   // under which it was opened
  std::string error;  // of the first name, where none could be
};

/// The first of these names that can be opened, in the folder of MOEKIT_CUDA_LIBRARY_PATH alone where that is set. It
/// stays open: its functions are used until the process ends.
Library open_library(std::initializer_list<const char*> names);

}  // namespace moekit::cuda
