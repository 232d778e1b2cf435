// SPDX-License-Identifier: Apache-2.0
// Routed experts that lie in a file: as many of them in memory as a budget holds.
#pragma once

#include <cstdint>
#include <memory>
#include <mutex>
#include <vector>

#include "backends/cpu/packed.h"

namespace moekit::cpu {

/// Slots of one expert each. A call names the experts that it needs, in order, and gets them in waves: stretches of the
/// order that are in memory together. What is given up for a missing expert is what this call does not need any more,
/// used longest ago first. Where a call needs more experts than there are slots, an eighth of them is let go for what
/// streams through (those needed last), and the others stay for as long as the call needs them.
class ExpertCache {
 public:
  /// `group` has its experts placed except for their panels, `bytes` each, which the source has one after the other.
  ExpertCache(const ExpertGroup& group, std::shared_ptr<const PartSource> source, std::int64_t bytes,
              std::int64_t slots);

  std::int64_t slots() const noexcept { return static_cast<std::int64_t>(slots_.size()); }
  std::size_t bytes() const noexcept { return memory_.bytes(); }
  CacheCounts counts() const;

  /// For as long as the lock lives the cache is the caller's, and so are the experts of its last wave.
  std::unique_lock<std::mutex> lock() { return std::unique_lock<std::mutex>(mutex_); }
  /// The call begins: its experts, ascending, are asked of the file before they are needed.
  void begin(const std::int64_t* needed, std::int64_t count);
  /// The experts needed[at ..] that are in memory now, as many as fit; answers the end of the wave. Throws
  /// CheckpointError where the file cannot be read; the slots that were to be filled are empty then.
  std::int64_t wave(const std::int64_t* needed, std::int64_t at, std::int64_t count);
  /// An expert of the wave.
  const PackedExpert& expert(std::int64_t e) const noexcept { return experts_[static_cast<std::size_t>(e)]; }

 private:
  struct Slot {
    std::int64_t expert = -1;
    std::uint64_t used = 0;  // number of the last wave that needed it
  };
  /// The slot to be given up: empty, or not needed from here on, or (`any`) needed last. -1: none.
  std::int64_t victim(bool any) const noexcept;
  void load(const std::vector<std::int64_t>& slots);

  const std::shared_ptr<const PartSource> source_;
  const std::int64_t bytes_, stride_;
  const bool linear_;
  const std::int64_t up_bytes_;
  PanelStorage memory_;
  std::vector<Slot> slots_;
  std::vector<PackedExpert> experts_;
  std::vector<std::int64_t> slot_of_;  // by expert, -1: in none
  std::vector<std::int64_t> turn_;     // by expert: its place in the call's order, -1: not needed any more
  std::vector<std::int64_t> loading_;  // slots
  std::uint64_t waves_ = 0;
  CacheCounts counts_;
  mutable std::mutex mutex_;
};

}  // namespace moekit::cpu
