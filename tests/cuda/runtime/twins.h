// SPDX-License-Identifier: Apache-2.0
// The library's kernels as the host runs them (tests/cuda/simt), with the checker of their memory accesses. A build
// that cannot have them (ThreadSanitizer) has no twins: then no layer runs on the stand-in.
#pragma once

#include <cstddef>
#include <string>

#include "cuda/runtime/control.h"

namespace moekit::standin {

/// The twin of a kernel of the library, or one without `run`.
Twin library_twin(const std::string& kernel);

/// Tells the checker of device memory that came, of bytes in it that a copy or memset wrote, and that it goes.
void watch_memory(std::byte* data, std::size_t bytes);
void note_written(std::byte* data, std::size_t bytes);
void unwatch_memory(std::byte* data);

}  // namespace moekit::standin
