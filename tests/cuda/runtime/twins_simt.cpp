// SPDX-License-Identifier: Apache-2.0
#include <cuda/simt/launch.h>

#include "cuda/runtime/twins.h"

#if MOEKIT_STANDIN_HAS_KIT
#include "cuda/kit/kit_kernels.h"
#define X(name, Params) extern "C" const simt::KernelInfo name##_twin;
MOEKIT_KIT_KERNELS(X)
#undef X
#endif

namespace moekit::standin {
namespace {

simt::Dim3 dim(const unsigned (&sizes)[3]) { return {sizes[0], sizes[1], sizes[2]}; }

// Kernels of the library, and of the conformance kit where it is built.
const simt::KernelInfo* find(const std::string& kernel) {
  if (const simt::KernelInfo* info = simt::find_kernel(kernel.c_str()); info != nullptr) return info;
#if MOEKIT_STANDIN_HAS_KIT
#define X(name, Params) \
  if (kernel == #name) return &name##_twin;
  MOEKIT_KIT_KERNELS(X)
#undef X
#endif
  return nullptr;
}

}  // namespace

Twin library_twin(const std::string& kernel) {
  const simt::KernelInfo* const info = find(kernel);
  if (info == nullptr) return {};
  return {info->name, info->params_bytes, [info](const LaunchShape& shape, const void* parameter) {
            simt::launch(*info, dim(shape.grid), dim(shape.block), shape.shared_bytes, parameter);
          }};
}

void watch_memory(std::byte* data, std::size_t bytes) { simt::add_region(data, bytes); }
void note_written(std::byte* data, std::size_t bytes) { simt::mark_written(data, bytes); }
void unwatch_memory(std::byte* data) { simt::remove_region(data); }

void set_thread_order(ThreadOrder order, std::uint64_t seed) { simt::set_order(static_cast<simt::Order>(order), seed); }
static_assert(static_cast<int>(simt::Order::kRandom) == static_cast<int>(ThreadOrder::kRandom) &&
              static_cast<int>(simt::Order::kDescending) == static_cast<int>(ThreadOrder::kDescending));

bool has_library_twins() { return true; }

}  // namespace moekit::standin
