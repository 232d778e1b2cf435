// SPDX-License-Identifier: Apache-2.0
// Indices, barriers, warp collectives.
#include "cuda/simt/block.h"
#include "cuda/simt/simt.h"

namespace simt {
namespace {

enum Collective : int { kShuffle = 1, kBallot, kMatch, kSyncWarp };

struct ShuffleLane {
  std::uint32_t value;
  int source;  // -1: the lane keeps its own
  std::uint32_t result;
};

void shuffle_op(void* const* lanes, unsigned mask) {
  for (unsigned i = 0; i < kWarp; ++i) {
    if ((mask >> i & 1) == 0) continue;
    auto* self = static_cast<ShuffleLane*>(lanes[i]);
    const auto source = self->source < 0 ? i : static_cast<unsigned>(self->source);
    if ((mask >> source & 1) == 0) stop_block(Fault::kDivergence, "a shuffle reads a lane outside its mask");
    self->result = static_cast<const ShuffleLane*>(lanes[source])->value;
  }
}

std::uint32_t shuffle_from(unsigned mask, std::uint32_t value, int source) {
  ShuffleLane lane{value, source, 0};
  runner().collective(kShuffle, mask, &lane, shuffle_op);
  return lane.result;
}

struct VoteLane {
  std::uint32_t value;
  unsigned result;
};

void ballot_op(void* const* lanes, unsigned mask) {
  unsigned result = 0;
  for (unsigned i = 0; i < kWarp; ++i)
    if ((mask >> i & 1) != 0 && static_cast<VoteLane*>(lanes[i])->value != 0) result |= 1u << i;
  for (unsigned i = 0; i < kWarp; ++i)
    if ((mask >> i & 1) != 0) static_cast<VoteLane*>(lanes[i])->result = result;
}

void match_op(void* const* lanes, unsigned mask) {
  for (unsigned i = 0; i < kWarp; ++i) {
    if ((mask >> i & 1) == 0) continue;
    auto* self = static_cast<VoteLane*>(lanes[i]);
    self->result = 0;
    for (unsigned j = 0; j < kWarp; ++j)
      if ((mask >> j & 1) != 0 && static_cast<VoteLane*>(lanes[j])->value == self->value) self->result |= 1u << j;
  }
}

unsigned vote(int kind, unsigned mask, std::uint32_t value, void (*op)(void* const*, unsigned)) {
  VoteLane lane{value, 0};
  runner().collective(kind, mask, &lane, op);
  return lane.result;
}

}  // namespace

Dim3 thread_index() { return runner().current().index; }
Dim3 block_index() { return runner().block_index; }
Dim3 block_size() { return runner().block; }
Dim3 grid_size() { return runner().grid; }
std::byte* shared_array(unsigned index, std::size_t offset, std::size_t bytes) {
  return runner().shared_array(index, offset, bytes);
}
std::uint32_t shuffle(unsigned mask, std::uint32_t value, int source_lane) {
  return shuffle_from(mask, value, source_lane & 31);
}

}  // namespace simt

void __syncthreads() { simt::runner().barrier(); }

void __syncwarp(unsigned mask) {
  simt::BlockRunner& block = simt::runner();
  block.collective(simt::kSyncWarp, mask, nullptr, nullptr);
  // A part of a warp orders that part only; the checker does not follow that, and takes it for no order at all.
  if (mask == 0xffffffffu) ++block.current().who.warp_sync;
}

unsigned __ballot_sync(unsigned mask, bool predicate) {
  return simt::vote(simt::kBallot, mask, predicate ? 1 : 0, simt::ballot_op);
}
unsigned __match_any_sync(unsigned mask, unsigned value) {
  return simt::vote(simt::kMatch, mask, value, simt::match_op);
}
unsigned __shfl_xor_sync(unsigned mask, unsigned value, int lanes) {
  return simt::shuffle_from(mask, value, static_cast<int>(simt::runner().lane()) ^ lanes);
}
unsigned __shfl_up_sync(unsigned mask, unsigned value, int lanes) {
  const int source = static_cast<int>(simt::runner().lane()) - lanes;
  return simt::shuffle_from(mask, value, source < 0 ? -1 : source);
}
