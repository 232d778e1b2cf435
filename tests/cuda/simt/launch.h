// SPDX-License-Identifier: Apache-2.0
// Runs kernels of src/backends/cuda on the CPU, compiled by the host's compiler from the same sources.
//
// A block's threads are fibers on one OS thread. __syncthreads and warp collectives are states of the scheduler: a
// collective is released when every lane of its mask waits in the same one. Every load and store of a kernel is seen by
// a checker (memory.h), because kernels are compiled with the compiler's thread-sanitizer instrumentation and linked
// against entry points of our own (access.cpp).
//
// What this shows: index arithmetic, masks, barriers, races, bounds, alignment, uninitialised reads, and that results
// do not depend on the order of threads and blocks. What it does not: the code that nvcc makes, the weak ordering of
// device memory, the rounding inside tensor cores, speed.
#pragma once

#include <cstddef>
#include <cstdint>
#include <stdexcept>
#include <string>

namespace simt {

struct Dim3 {
  unsigned x = 1, y = 1, z = 1;
};

/// What the checker stopped. The kernel's effects up to there stay in memory.
enum class Fault : std::uint8_t {
  kRace,
  kDivergence,  // a barrier or collective that not all of its threads reach
  kOutOfBounds,
  kUninitialised,
  kMisaligned,
  kLaunch,      // geometry, shared memory, parameters
  kUnfinished,  // asynchronous copies that were never waited for
};
class Error : public std::runtime_error {
 public:
  Error(Fault kind, const std::string& what) : std::runtime_error(what), fault(kind) {}
  Fault fault;
};

/// A kernel compiled for the host: one parameter, a struct by value.
struct KernelInfo {
  const char* name;
  std::size_t params_bytes;
  unsigned max_threads;  // __launch_bounds__
  void (*body)(const void* params);
};
/// The kernels of the library by name; null for another name.
const KernelInfo* find_kernel(const char* name);

/// In which order threads of a block, and blocks of a grid, take turns.
enum class Order : std::uint8_t { kAscending, kDescending, kRandom };
/// For the calling thread's launches from now on. Without a call: MOEKIT_SIMT_ORDER (ascending, descending, random),
/// read at each launch, or ascending.
void set_order(Order order, std::uint64_t seed = 1);

/// Runs a grid to its end. Throws Error. Launches of several host threads take turns.
void launch(const KernelInfo& kernel, Dim3 grid, Dim3 block, std::size_t shared_bytes, const void* params);

/// Device memory: kernels may touch registered regions only, and read only what was written. Regions are kept in one
/// list for all threads. Contents start as uninitialised.
void add_region(void* memory, std::size_t bytes);
void remove_region(void* memory);
/// Bytes that a copy or a memset of the driver wrote.
void mark_written(void* memory, std::size_t bytes);
/// Whether all of it lies in one region, and has been written.
bool is_written(const void* memory, std::size_t bytes);

}  // namespace simt
