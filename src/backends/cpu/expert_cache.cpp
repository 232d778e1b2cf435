// SPDX-License-Identifier: Apache-2.0
#include "backends/cpu/expert_cache.h"

#include <algorithm>

#include "backends/cpu/group_layout.h"
#include "core/thread_pool.h"

namespace moekit::cpu {
namespace {

// What one thread reads at once: long enough for the disk, short enough that the threads end together.
constexpr std::int64_t kPiece = std::int64_t{1} << 20;

std::int64_t stride_of(std::int64_t bytes) { return round_up(bytes, kLineBytes); }

}  // namespace

ExpertCache::ExpertCache(const ExpertGroup& group, std::shared_ptr<const PartSource> source, std::int64_t bytes,
                         std::int64_t slots)
    : source_(std::move(source)),
      bytes_(bytes),
      stride_(stride_of(bytes)),
      linear_(group.config.act == Activation::kLinear),
      up_bytes_(expert_sizes(group).up_bytes),
      memory_(static_cast<std::size_t>(checked_mul(stride_, slots, "expert cache"))),
      slots_(static_cast<std::size_t>(slots)),
      experts_(group.experts),
      slot_of_(group.experts.size(), -1),
      turn_(group.experts.size(), -1) {
  loading_.reserve(slots_.size());
  counts_.slots = slots;
}

CacheCounts ExpertCache::counts() const {
  const std::lock_guard<std::mutex> lock(mutex_);
  return counts_;
}

void ExpertCache::begin(const std::int64_t* needed, std::int64_t count) {
  std::fill(turn_.begin(), turn_.end(), -1);
  for (std::int64_t i = 0; i < count; ++i) {
    const auto e = static_cast<std::size_t>(needed[i]);
    turn_[e] = i;
    if (slot_of_[e] < 0)
      source_->will_need(static_cast<std::uint64_t>(needed[i] * bytes_), static_cast<std::size_t>(bytes_));
  }
}

std::int64_t ExpertCache::victim(bool any) const noexcept {
  std::int64_t best = -1, best_turn = -1;
  for (std::int64_t i = 0; i < slots(); ++i) {
    const Slot& slot = slots_[static_cast<std::size_t>(i)];
    if (slot.used == waves_) continue;  // of this wave
    if (slot.expert < 0) return i;
    const std::int64_t turn = turn_[static_cast<std::size_t>(slot.expert)];
    if (turn >= 0) {
      if (any && (best < 0 || (best_turn >= 0 && turn > best_turn))) best = i, best_turn = turn;
    } else if (best < 0 || best_turn >= 0 || slot.used < slots_[static_cast<std::size_t>(best)].used) {
      best = i, best_turn = -1;
    }
  }
  return best;
}

std::int64_t ExpertCache::wave(const std::int64_t* needed, std::int64_t at, std::int64_t count) {
  ++waves_;
  loading_.clear();
  const std::int64_t streaming = std::max<std::int64_t>(1, slots() / 8);
  std::int64_t end = at;
  CacheCounts seen = counts_;
  for (; end < count; ++end) {
    const auto e = static_cast<std::size_t>(needed[end]);
    std::int64_t slot = slot_of_[e];
    if (slot >= 0) {
      ++seen.hits;
    } else {
      slot = victim(false);
      if (slot < 0 && static_cast<std::int64_t>(loading_.size()) < streaming) slot = victim(true);
      if (slot < 0) break;
      Slot& taken = slots_[static_cast<std::size_t>(slot)];
      if (taken.expert >= 0) slot_of_[static_cast<std::size_t>(taken.expert)] = -1;
      taken.expert = needed[end];
      loading_.push_back(slot);
      ++seen.loads;
    }
    slots_[static_cast<std::size_t>(slot)].used = waves_;
    turn_[e] = -1;
  }
  load(loading_);
  counts_ = seen;
  return end;
}

void ExpertCache::load(const std::vector<std::int64_t>& slots) {
  const std::int64_t pieces = ceil_div(bytes_, kPiece);
  try {
    parallel_for(num_threads(), static_cast<std::int64_t>(slots.size()) * pieces, 1,
                 [&](std::int64_t first, std::int64_t last) {
                   for (std::int64_t i = first; i < last; ++i) {
                     const std::int64_t slot = slots[static_cast<std::size_t>(i / pieces)], from = i % pieces * kPiece;
                     const std::int64_t expert = slots_[static_cast<std::size_t>(slot)].expert;
                     source_->read(static_cast<std::uint64_t>(expert * bytes_ + from),
                                   static_cast<std::size_t>(std::min(kPiece, bytes_ - from)),
                                   memory_.writable() + slot * stride_ + from);
                   }
                 });
  } catch (...) {
    for (const std::int64_t slot : slots) slots_[static_cast<std::size_t>(slot)] = {};
    throw;
  }
  for (const std::int64_t slot : slots) {
    const std::int64_t expert = slots_[static_cast<std::size_t>(slot)].expert;
    const std::byte* panels = memory_.data() + slot * stride_;
    slot_of_[static_cast<std::size_t>(expert)] = slot;
    PackedExpert& placed = experts_[static_cast<std::size_t>(expert)];
    placed.up = linear_ ? nullptr : panels;
    placed.down = panels + up_bytes_;
  }
}

}  // namespace moekit::cpu
