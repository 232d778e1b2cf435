// SPDX-License-Identifier: Apache-2.0
// The running block: its fibers and what they wait for. For the files of this folder only.
#pragma once

#include <cstddef>
#include <cstdint>
#include <exception>
#include <memory>
#include <random>
#include <string>
#include <vector>

#include "cuda/simt/launch.h"
#include "cuda/simt/memory.h"

namespace simt {

constexpr unsigned kWarp = 32;
constexpr std::size_t kStackBytes = std::size_t{64} << 10;

enum class State : std::uint8_t { kReady, kBarrier, kCollective, kDone };

/// An asynchronous copy that has been issued and not been waited for.
struct PendingCopy {
  void* to;
  const void* from;
  std::size_t bytes, zero_from;  // bytes from zero_from on become 0
  unsigned group;
};

struct Fiber {
  void* context = nullptr;
  std::byte* stack = nullptr;
  State state = State::kReady;
  Who who;
  Dim3 index;
  std::vector<PendingCopy> copies;
  unsigned copy_groups = 0;  // committed so far
};

/// Lanes that wait for each other.
struct Meeting {
  int kind = 0;
  unsigned mask = 0, arrived = 0;
  void* payloads[kWarp] = {};
};

struct WarpState {
  std::vector<Meeting> meetings;      // of disjoint masks
  unsigned done = 0, at_barrier = 0;  // lanes
};

/// Stacks, shared memory and counters of an OS thread, kept between launches.
class BlockRunner {
 public:
  BlockRunner();
  ~BlockRunner();
  BlockRunner(const BlockRunner&) = delete;
  BlockRunner& operator=(const BlockRunner&) = delete;

  void run_grid(const KernelInfo& kernel, Dim3 grid, Dim3 block, std::size_t shared_bytes, const void* params);

  // What a running fiber asks for.
  Fiber& current() { return fibers_[current_]; }
  unsigned lane() const { return current_ % kWarp; }
  void barrier();
  /// Waits until all lanes of `mask` are in the collective `kind`; the last one runs op(payloads, mask) for all.
  void collective(int kind, unsigned mask, void* payload, void (*op)(void* const* payloads, unsigned mask));
  void access(const void* address, std::size_t bytes, bool write);
  /// The index-th array of the block's shared memory, `offset` bytes behind its start on a device. Here a gap that
  /// belongs to nobody lies between arrays, so that an overrun does not hit the next one.
  std::byte* shared_array(unsigned index, std::size_t offset, std::size_t bytes);
  const Region& shared() const { return shared_; }
  [[noreturn]] void stop(Fault fault, std::string what);
  Dim3 grid, block, block_index;

 private:
  static void entry();
  [[noreturn]] void give_up();
  void run_block();
  bool turn_of_all();
  void explain_deadlock();
  void yield();
  void resume(unsigned thread);
  void reserve(unsigned threads);
  const Region* region_of(const void* address);

  std::vector<Fiber> fibers_;
  std::vector<WarpState> warps_;
  std::vector<std::byte*> stacks_;
  std::vector<unsigned> order_;
  unsigned threads_ = 0, current_ = 0, done_ = 0, at_barrier_ = 0;
  void* scheduler_ = nullptr;
  const KernelInfo* kernel_ = nullptr;
  const void* params_ = nullptr;
  std::vector<std::byte> shared_memory_;
  Region shared_;
  std::size_t shared_limit_ = 0;
  std::vector<const Region*> regions_;  // of device memory when the grid began, by address
  const Region* recent_ = nullptr;
  std::mt19937_64 random_;
  Order turn_ = Order::kAscending;
  std::unique_ptr<Error> error_;
};

/// The runner of this OS thread.
BlockRunner& runner();
/// Whether a kernel runs on this OS thread just now.
bool in_kernel();
/// What set_order or MOEKIT_SIMT_ORDER asks for, and the generator seeded for it.
Order current_order(std::mt19937_64& random);
[[noreturn]] void stop_block(Fault fault, std::string what);

}  // namespace simt
