// SPDX-License-Identifier: Apache-2.0
// The checker of memory accesses: bounds, alignment, uninitialised reads, races.
//
// Every two bytes (the smallest element that kernels write) have a cell: who wrote last, and two threads that have read
// since. Two accesses of which one writes conflict unless something orders them: __syncthreads within a block,
// __syncwarp within a warp; nothing within a launch orders blocks.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

#include "cuda/simt/launch.h"

namespace simt {

/// A point of a thread's execution. `block` counts all blocks ever run, so that cells need no clearing between
/// launches: what another launch left is ordered. 0: nobody.
struct Who {
  std::uint32_t block = 0;
  std::uint32_t launch = 0;
  std::uint32_t barrier = 0;  // __syncthreads passed
  std::uint16_t thread = 0;
  std::uint16_t warp_sync = 0;  // full __syncwarp passed since
};

struct Cell {
  Who writer, readers[2];
};

constexpr std::uint8_t kGap = 2;  // between two arrays of shared memory
constexpr std::size_t kGranule = 2;

struct Region {
  std::byte* begin = nullptr;
  std::byte* end = nullptr;
  Cell* cells = nullptr;            // one for two bytes; pages come into being when touched
  std::uint8_t* written = nullptr;  // likewise: 0 not yet, 1 written, kGap
  bool of_block = false;            // shared memory: every block finds it fresh
  mutable bool stored_to = false;   // by a kernel, ever
  bool holds(const void* address) const noexcept { return address >= begin && address < end; }
};

/// Makes and gives back the shadow of [memory, memory + bytes).
Region make_region(void* memory, std::size_t bytes);
void free_region(Region& region) noexcept;

/// The region of the list that holds the address, or null.
const Region* find_region(const void* address);

std::vector<const Region*> all_regions();

/// Checks one access of the running thread; stops the block on a fault. Loads from a region that no kernel ever stored
/// to (weights, inputs) are not remembered: a race with the very first store to it goes unseen, and with every later
/// one not.
void check_access(const Region& region, const void* address, std::size_t bytes, bool write, const Who& who);

/// Memory of the program that may only be read: constants of kernels.
bool is_constant(const void* address);

}  // namespace simt
