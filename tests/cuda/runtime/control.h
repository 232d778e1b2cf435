// SPDX-License-Identifier: Apache-2.0
// What a test says to the stand-in driver, and asks it. The driver itself is libcuda.so.1 of this folder: the library
// opens it through MOEKIT_CUDA_LIBRARY_PATH, and a test program that links it speaks to the same one.
//
// Environment, read by cuInit:
//   MOEKIT_STANDIN_DEVICES  the devices, by compute capability and memory: "sm_90:512M,sm_80" (default "sm_90,sm_80");
//                           empty: a driver without a device
//   MOEKIT_STANDIN_IMAGES   "machine_code": kernels known by name only are refused, as by a real driver
//   MOEKIT_STANDIN_SCHEDULE eager, lazy or random:SEED (default random:1)
// At the end of the process the problems that no test took are printed, and the process aborts.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <string>
#include <string_view>
#include <vector>

namespace moekit::standin {

/// When queued work is done. A device gives no promise but the order of streams and events, and each of these keeps it.
enum class Schedule {
  kEager,   // at once
  kLazy,    // not before something waits for it
  kRandom,  // by chance, streams in any order: so many operations after each call
};
void set_schedule(Schedule schedule, std::uint64_t seed = 1);

/// The n-th call of `function` from now on (1: the next) answers `code` and does nothing. With `sticky` the device is
/// broken from then on: every call that needs it answers `code`, as after a fault in a kernel.
void fail_call(std::string_view function, int nth, int code, bool sticky = false);
/// The n-th kernel from now on faults while it runs: sticky, seen by a later call.
void fail_kernel(int nth, int code);
/// Forgets failures that have not happened yet, and mends broken devices (no real driver can do that in a process).
void clear_failures();

/// Bytes of a device that can be allocated.
void set_memory_limit(int device, std::size_t bytes);

struct Statistics {
  std::size_t live_bytes = 0;  // device memory, as asked for
  std::size_t live_allocations = 0;
  std::uint64_t allocations = 0;  // cuMemAlloc calls that succeeded
  std::uint64_t kernels = 0;      // that ran
  std::uint64_t waits = 0;        // calls that made the host wait for the device
  std::size_t pending = 0;        // operations queued and not yet done
};
Statistics statistics();
/// Calls of a function so far.
std::uint64_t calls(std::string_view function);

struct LaunchRecord {
  std::string kernel;
  unsigned grid[3], block[3], shared_bytes;
  int device;
};
/// The launches accepted since the last call of this.
std::vector<LaunchRecord> take_launches();

/// What a real device would not have noticed or would have answered with wrong results: written guard bytes, arguments
/// of another size than nvcc's kernel takes, host pointers in arguments. Taken: a test looks at each.
std::vector<std::string> take_problems();

/// How a kernel runs here. `run` gets the launch and the bytes of the kernel's one parameter.
struct LaunchShape {
  unsigned grid[3], block[3], shared_bytes;
};
struct Twin {
  std::string name;
  std::size_t parameter_bytes = 0;
  std::function<void(const LaunchShape& shape, const void* parameter)> run;
};
/// Adds or replaces a twin. Those of the library's own kernels are there from the start, where the build has them.
void add_twin(const Twin& twin);
bool has_library_twins();

/// In which order the threads of a block, and the blocks of a grid, take turns in the library's kernels, for work that
/// this thread runs.
enum class ThreadOrder { kAscending, kDescending, kRandom };
void set_thread_order(ThreadOrder order, std::uint64_t seed = 1);

}  // namespace moekit::standin
