// SPDX-License-Identifier: Apache-2.0
// The stable sort of slots by expert, without atomics: a chunk of slots is counted by one warp, the counts are scanned,
// and the warp walks its chunk again to place it. The rank of a slot is the number of earlier slots of its expert, so
// the result is the same whatever order blocks run in.
#include "backends/cuda/device.h"
#include "backends/cuda/kernels.h"

namespace moekit::cuda {
namespace {

MOEKIT_DEVICE int lane_of_thread() { return static_cast<int>(threadIdx.x) % kWarpSize; }

// Walks slots first .. last by one warp, 32 at a time. `counters` [experts] belongs to the warp: rows given so far to
// each expert. visit(slot, expert, rank) is called for every slot; expert -1 has no rank.
template <class Visit>
MOEKIT_DEVICE void walk_slots(const PermuteParams& p, int first, int last, int* counters, Visit visit) {
  const int lane = lane_of_thread();
  for (int base = first; base < last; base += kWarpSize) {
    const int slot = base + lane;
    int expert = slot < last ? p.ids[slot] : -1;
    if (expert < 0 || expert >= p.experts) expert = -1;
    const unsigned peers = __match_any_sync(kFullWarp, static_cast<unsigned>(expert));
    const unsigned earlier = peers & ((1u << lane) - 1u);
    const int before = expert >= 0 ? counters[expert] : 0;
    if (slot < last) visit(slot, expert, before + __popc(earlier));
    __syncwarp();
    if (expert >= 0 && earlier == 0) counters[expert] = before + __popc(peers);
    __syncwarp();
  }
}

struct Ignore {
  MOEKIT_DEVICE void operator()(int, int, int) const {}
};

struct Place {
  const PermuteParams& p;
  MOEKIT_DEVICE void operator()(int slot, int expert, int rank) const {
    const int row = expert >= 0 ? p.offsets[expert] + rank : -1;
    p.row_of_slot[slot] = row;
    if (row < 0) return;
    p.slot_of_row[row] = slot;
    p.token_of_row[row] = slot / p.top_k;
  }
};

MOEKIT_DEVICE int end_of_chunk(const PermuteParams& p, int chunk) {
  const int end = (chunk + 1) * kChunkSlots;
  return end < p.slots ? end : p.slots;
}

struct RowsAndTiles {
  int rows, tiles;
};

// Inclusive sums over the block's threads; `sums` [2 * 32]. Ends with a barrier passed by all.
MOEKIT_DEVICE RowsAndTiles block_scan(RowsAndTiles value, int* sums) {
  const int lane = lane_of_thread(), warp = static_cast<int>(threadIdx.x) / kWarpSize;
  const int warps = static_cast<int>(blockDim.x) / kWarpSize;
  for (int distance = 1; distance < kWarpSize; distance *= 2) {
    const int rows = __shfl_up_sync(kFullWarp, value.rows, distance);
    const int tiles = __shfl_up_sync(kFullWarp, value.tiles, distance);
    if (lane >= distance) {
      value.rows += rows;
      value.tiles += tiles;
    }
  }
  if (lane == kWarpSize - 1) {
    sums[warp] = value.rows;
    sums[kWarpSize + warp] = value.tiles;
  }
  __syncthreads();
  for (int w = 0; w < warps; ++w) {
    if (w < warp) {
      value.rows += sums[w];
      value.tiles += sums[kWarpSize + w];
    }
  }
  __syncthreads();
  return value;
}

// counts [chunks, experts] become the rows of earlier chunks; offsets and tiles follow. One block.
MOEKIT_DEVICE void scan(const PermuteParams& p, int* counts, int* sums) {
  int* const carry = sums + 2 * kWarpSize;  // rows and tiles of the experts before this round's
  if (threadIdx.x == 0) carry[0] = carry[1] = 0;
  __syncthreads();
  const int threads = static_cast<int>(blockDim.x);
  for (int base = 0; base < p.experts; base += threads) {
    const int expert = base + static_cast<int>(threadIdx.x);
    int rows = 0;
    for (int chunk = 0; expert < p.experts && chunk < p.chunks; ++chunk) {
      int* const at = counts + static_cast<long long>(chunk) * p.experts + expert;
      const int count = *at;
      *at = rows;
      rows += count;
    }
    const int tiles = (rows + p.tile_rows - 1) / p.tile_rows;
    const RowsAndTiles upto = block_scan({rows, tiles}, sums);
    const int first_row = carry[0] + upto.rows - rows, first_tile = carry[1] + upto.tiles - tiles;
    __syncthreads();
    if (static_cast<int>(threadIdx.x) == threads - 1) {
      carry[0] += upto.rows;
      carry[1] += upto.tiles;
    }
    if (expert < p.experts) {
      p.offsets[expert] = first_row;
      for (int tile = 0; tile < tiles; ++tile) {
        const int row = tile * p.tile_rows, left = rows - row;
        p.tiles[first_tile + tile] = {expert, first_row + row, left < p.tile_rows ? left : p.tile_rows};
      }
    }
    __syncthreads();
  }
  if (threadIdx.x == 0) {
    p.offsets[p.experts] = carry[0];
    *p.tile_count = carry[1];
  }
}

}  // namespace

// One warp a block, one chunk a block.
MOEKIT_CUDA_KERNEL(moekit_count_slots, PermuteParams, kWarpSize) {
  SharedMemory shared;
  int* const counters = shared.take<int>(p.experts);
  const int chunk = static_cast<int>(blockIdx.x);
  for (int e = static_cast<int>(threadIdx.x); e < p.experts; e += kWarpSize) counters[e] = 0;
  __syncwarp();
  walk_slots(p, chunk * kChunkSlots, end_of_chunk(p, chunk), counters, Ignore());
  int* const out = p.counts + static_cast<long long>(chunk) * p.experts;
  for (int e = static_cast<int>(threadIdx.x); e < p.experts; e += kWarpSize) out[e] = counters[e];
}

MOEKIT_CUDA_KERNEL(moekit_scan_experts, PermuteParams, kScanThreads) {
  SharedMemory shared;
  scan(p, p.counts, shared.take<int>(kScanWords));
}

MOEKIT_CUDA_KERNEL(moekit_place_slots, PermuteParams, kWarpSize) {
  SharedMemory shared;
  int* const counters = shared.take<int>(p.experts);
  const int chunk = static_cast<int>(blockIdx.x);
  const int* const before = p.counts + static_cast<long long>(chunk) * p.experts;
  for (int e = static_cast<int>(threadIdx.x); e < p.experts; e += kWarpSize) counters[e] = before[e];
  __syncwarp();
  walk_slots(p, chunk * kChunkSlots, end_of_chunk(p, chunk), counters, Place{p});
}

// All three in one block, for as many slots as one warp walks in a few microseconds: decode.
MOEKIT_CUDA_KERNEL(moekit_permute_small, PermuteParams, kScanThreads) {
  SharedMemory shared;
  int* const counters = shared.take<int>(p.experts);
  int* const sums = shared.take<int>(kScanWords);
  for (int e = static_cast<int>(threadIdx.x); e < p.experts; e += static_cast<int>(blockDim.x)) counters[e] = 0;
  __syncthreads();
  if (threadIdx.x < kWarpSize) walk_slots(p, 0, p.slots, counters, Ignore());
  __syncthreads();
  scan(p, counters, sums);
  __syncthreads();
  if (threadIdx.x < kWarpSize) walk_slots(p, 0, p.slots, counters, Place{p});
}

}  // namespace moekit::cuda
