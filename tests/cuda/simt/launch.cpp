// SPDX-License-Identifier: Apache-2.0
#include "cuda/simt/launch.h"

#include <cstdlib>
#include <cstring>
#include <mutex>
#include <optional>

#include "cuda/simt/block.h"

namespace simt {
namespace {

thread_local std::optional<Order> g_order;
thread_local std::uint64_t g_seed = 1;

[[noreturn]] void refuse(const KernelInfo& kernel, const std::string& what) {
  throw Error(Fault::kLaunch, std::string("[simt] launch of ") + kernel.name + ": " + what);
}

// The limits that all devices from compute capability 8.0 on share; 99 KB of shared memory is what 8.6, 8.9 and 12.0
// give to one block.
void check_geometry(const KernelInfo& kernel, Dim3 grid, Dim3 block, std::size_t shared_bytes) {
  const std::uint64_t threads = std::uint64_t{block.x} * block.y * block.z;
  if (threads == 0 || threads > 1024 || block.z > 64) refuse(kernel, std::to_string(threads) + " threads in a block");
  if (threads > kernel.max_threads)
    refuse(kernel, std::to_string(threads) + " threads, launch bounds " + std::to_string(kernel.max_threads));
  if (grid.x == 0 || grid.y == 0 || grid.z == 0) refuse(kernel, "an empty grid");
  if (grid.x > 0x7fffffffu || grid.y > 65535 || grid.z > 65535)
    refuse(kernel, "a grid beyond (2^31 - 1, 65535, 65535)");
  if (shared_bytes > 99u << 10)
    refuse(kernel, std::to_string(shared_bytes) + " bytes of shared memory, at most 101376");
}

}  // namespace

void set_order(Order order, std::uint64_t seed) {
  g_order = order;
  g_seed = seed;
}

Order current_order(std::mt19937_64& random) {
  Order order = g_order.value_or(Order::kAscending);
  if (!g_order.has_value()) {
    const char* const name = std::getenv("MOEKIT_SIMT_ORDER");
    if (name != nullptr && std::strcmp(name, "descending") == 0) order = Order::kDescending;
    if (name != nullptr && std::strcmp(name, "random") == 0) order = Order::kRandom;
  }
  random.seed(g_seed);
  return order;
}

void launch(const KernelInfo& kernel, Dim3 grid, Dim3 block, std::size_t shared_bytes, const void* params) {
  check_geometry(kernel, grid, block, shared_bytes);
  // One grid at a time: the cells of device memory are not made for more.
  static std::mutex one;
  const std::lock_guard lock(one);
  runner().run_grid(kernel, grid, block, shared_bytes, params);
}

}  // namespace simt
