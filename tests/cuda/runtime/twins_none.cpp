// SPDX-License-Identifier: Apache-2.0
#include "cuda/runtime/twins.h"

namespace moekit::standin {

Twin library_twin(const std::string&) { return {}; }
void watch_memory(std::byte*, std::size_t) {}
void note_written(std::byte*, std::size_t) {}
void unwatch_memory(std::byte*) {}
void set_thread_order(ThreadOrder, std::uint64_t) {}
bool has_library_twins() { return false; }

}  // namespace moekit::standin
