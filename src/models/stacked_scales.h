// SPDX-License-Identifier: Apache-2.0
// Scales that lie stacked over experts whose weights do not: transformers saves FP8 experts one by one, and their
// scales as it holds them, as experts.gate_up_proj_scale_inv [E, 2R, C] and experts.down_proj_scale_inv [E, R, C].
#pragma once

#include "models/accounting.h"
#include "models/family.h"

namespace moekit {

class StackedScales {
 public:
  /// Looks for them under the family's stacked names; `halves` is 2 when gate lies above up.
  StackedScales(const Family& family, std::int64_t experts, std::int64_t halves, Accounting& tensors);

  /// Scales of gate (half 0) or up (the last half) of an expert, and of down; empty when there are none.
  TensorRef up_part(std::int64_t expert, std::int64_t half) const { return part(up_, expert, half, halves_); }
  TensorRef down(std::int64_t expert) const { return part(down_, expert, 0, 1); }

 private:
  static TensorRef part(const TensorRef* stack, std::int64_t expert, std::int64_t half, std::int64_t halves);

  std::int64_t halves_;
  const TensorRef *up_ = nullptr, *down_ = nullptr;
};

}  // namespace moekit
