// SPDX-License-Identifier: Apache-2.0
// One tile of tokens through its active experts.
#pragma once

#include <atomic>

#include "backends/cpu/packed.h"
#include "backends/cpu/workspace.h"
#include "core/thread_pool.h"

namespace moekit::cpu {

/// Which part of a tile's experts a run has, where they come one part after the other: the accumulators are cleared by
/// the first and become y with the last.
struct Part {
  bool first = true, last = true;
};

inline bool is_linear(const ExpertGroup& group) noexcept { return group.config.act == Activation::kLinear; }

class TileRun {
 public:
  /// Plans: `workspace.active` holds the experts with rows, in order; down_a is filled in here. Identity rows, if any,
  /// are rows [identity_first, identity_last) of the workspace's permutation.
  TileRun(const CpuBlock& block, const MatrixView& x, const MutableMatrixView& y, CpuWorkspace& workspace, int threads,
          const Part& part = {});
  void identity_rows(std::int64_t first, std::int64_t last) noexcept {
    identity_first_ = first;
    identity_last_ = last;
  }
  /// Threads that the tile has use for, at most those of the constructor.
  int threads() const noexcept { return threads_; }
  /// The job of one thread of the team.
  void operator()(Team& team, int thread) noexcept;

 private:
  void plan_units();
  void allocate();
  /// `held`: the unit whose rows of x the thread's A holds, or null.
  void up(const UpUnit& unit, const std::byte* next, int thread, const UpUnit*& held) noexcept;
  /// `floats`: where the rows as float32 go if A is of parts.
  void gather(const ActiveExpert& active, std::int64_t row, std::int64_t rows, std::byte* a,
              std::byte* floats) const noexcept;
  void gather_integers(const ActiveExpert& active, std::int64_t row, std::int64_t rows, std::byte* a) const noexcept;
  /// Hidden activations to rows of integers or of parts, the share of one thread.
  void remake_hidden(int thread, int threads) const noexcept;
  /// `following`: the thread's next slab.
  void down(std::int64_t slab, std::int64_t following, int thread) noexcept;
  /// Panels [first, last) of the down-projection of active expert i. `next`: the panel that is read after them, or null.
  void multiply(std::size_t i, std::int64_t first, std::int64_t last, const std::byte* next, int thread) noexcept;
  void clear(std::int64_t first, std::int64_t last) const noexcept;
  void finish(std::int64_t first, std::int64_t last) const noexcept;
  void add_identity(std::int64_t first, std::int64_t last) const noexcept;
  /// Whether the rows of x of two units are the same, so that A is, too.
  bool same_rows(const UpUnit& a, const UpUnit& b) const noexcept;
  /// What the job reads first of a unit and of a slab, or null.
  const std::byte* first_panel(std::int64_t unit) const noexcept;
  const std::byte* first_down_panel(std::int64_t slab) const noexcept;
  const std::byte* down_panel(std::size_t i, std::int64_t panel) const noexcept;

  const CpuBlock& block_;
  const MatrixView x_;
  const MutableMatrixView y_;
  CpuWorkspace& ws_;
  int threads_;
  const Part part_;
  std::int64_t slabs_ = 1, panels_ = 0, out_panel_ = 0;  // out_panel_: floats of a panel of accumulators
  std::int64_t chunk_bytes_ = 0, down_bytes_ = 0, scratch_floats_ = 0, unpacked_bytes_ = 0;
  std::int64_t identity_first_ = 0, identity_last_ = 0;
  bool remakes_hidden_ = false;
  bool shared_a_ = false;        // whether all experts read the same rows of A
  std::byte* a_ = nullptr;       // chunk_bytes_ a thread
  std::byte* down_a_ = nullptr;  // A of the down-projections
  float* out_ = nullptr;         // [panels_, tokens, 32]
  float* scratch_ = nullptr;
  std::byte* unpacked_ = nullptr;  // unpacked_bytes_ a thread
  std::atomic<std::int64_t> next_unit_{0}, next_slab_{0};
};

}  // namespace moekit::cpu
