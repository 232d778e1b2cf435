// SPDX-License-Identifier: Apache-2.0
// Scratch of one call in flight: an arena that grows to the largest call seen, and the lists that planning fills.
#pragma once

#include <cstdint>
#include <memory>
#include <vector>

#include "backend/backend.h"
#include "backends/cpu/layout.h"
#include "core/aligned_buffer.h"
#include "moekit/permutation.h"
#include "routing/routing.h"

namespace moekit::cpu {

/// Cache-line aligned pieces of one buffer. Sizes are added up first, then taken in any order.
class Arena {
 public:
  static std::size_t padded(std::size_t bytes) noexcept { return (bytes + 63) / 64 * 64; }
  /// Makes room for `bytes` in all and starts again. Throws std::bad_alloc.
  void reset(std::size_t bytes) {
    if (bytes > buffer_.bytes()) {
      buffer_ = AlignedBuffer();  // give the old one back before asking for more
      buffer_ = AlignedBuffer(bytes + bytes / 4);
    }
    used_ = 0;
  }
  template <class T>
  T* take(std::int64_t count) noexcept {
    T* piece = reinterpret_cast<T*>(buffer_.data() + used_);
    used_ += padded(static_cast<std::size_t>(count) * sizeof(T));
    return piece;
  }

 private:
  AlignedBuffer buffer_;
  std::size_t used_ = 0;
};

struct ExpertGroup;
struct PackedExpert;

/// An expert with rows in this call.
struct ActiveExpert {
  const ExpertGroup* group = nullptr;
  const PackedExpert* expert = nullptr;
  const std::int32_t* token = nullptr;  // null: row i is token i
  const float* weight = nullptr;        // null: 1
  const float* in_scale = nullptr;      // null: 1
  std::int64_t rows = 0;
  std::int64_t down_a = 0;  // bytes: where its rows, as A of the down-projection, begin
  std::int64_t hidden = 0;  // likewise the float32 rows that A is made of in a step of its own
};

/// Panels [first, last) of the up-projection of an expert for rows [row, row + rows).
struct UpUnit {
  std::int64_t active = 0, row = 0, rows = 0, first = 0, last = 0;
};

struct CpuWorkspace final : Workspace {
  Arena arena, router_arena;
  Arena sums;  // accumulators that outlive a wave of experts
  TokenPermutation permutation;
  std::vector<ActiveExpert> active;
  std::vector<ActiveExpert> all;     // of a call whose experts come in waves
  std::vector<std::int64_t> needed;  // their routed experts
  std::vector<UpUnit> units;
  std::vector<RouteScratch> route;                      // one a thread
  std::vector<std::unique_ptr<CpuWorkspace>> children;  // one a thread, where threads work on tokens of their own
};

}  // namespace moekit::cpu
