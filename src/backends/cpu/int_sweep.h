// SPDX-License-Identifier: Apache-2.0
// Sweeps of rows of integers over quantised panels, and the entries of a table for them.
#pragma once

#include "backends/cpu/int_panel.h"
#include "backends/cpu/rows.h"
#include "backends/cpu/sweep.h"

namespace moekit::cpu {
namespace {

/// row_work(panel, c): as in sweep, for all rows.
template <class Dot, bool kFixedPoint, class Args, class RowWork>
MOEKIT_INLINE void int_sweep(const Args& args, const RowWork& row_work) {
  const std::int64_t panel_bytes = args.quant->panel_bytes();
  for (std::int64_t n = args.first; n < args.last; ++n) {
    const std::byte* panel = args.panels + n * panel_bytes;
    const std::byte* following = n + 1 < args.last ? panel + panel_bytes : args.next;
    if constexpr (kFixedPoint) {
      if (args.quant->digits == kFixedPointDigits)
        int_panel<Dot, kFixedPointDigits>(*args.quant, panel, following, args.a, args.rows, args.scratch);
    }
    if (args.quant->digits == 1) int_panel<Dot, 1>(*args.quant, panel, following, args.a, args.rows, args.scratch);
    finish_rows(row_work(n, 0, args.scratch), args.rows);
  }
}

template <class Dot, bool kFixedPoint>
struct IntSweep {
  template <class Args, class RowWork>
  MOEKIT_INLINE static void run(const Args& args, const RowWork& row_work) {
    int_sweep<Dot, kFixedPoint>(args, row_work);
  }
};

/// kFixedPoint: as in IntKernels.
template <class Dot, bool kFixedPoint>
constexpr IntKernels int_kernels() {
  using Sweep = IntSweep<Dot, kFixedPoint>;
  return {int_gather<Dot::kSignedCodes>, up_sweep<float, Sweep>, down_sweep<Sweep>, kFixedPoint};
}

}  // namespace
}  // namespace moekit::cpu
