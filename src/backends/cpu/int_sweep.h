// SPDX-License-Identifier: Apache-2.0
// Sweeps of rows of integers over quantised panels, and the entries of a table for them.
#pragma once

#include "backends/cpu/int_panel.h"
#include "backends/cpu/rows.h"
#include "backends/cpu/sweep.h"

namespace moekit::cpu {
namespace {

/// Panels::multiply(quant, panel, following, a, rows, c): all rows of A through a panel, as int_panel. row_work(panel,
/// c): as in sweep, for all rows.
template <class Panels, class Args, class RowWork>
MOEKIT_INLINE void int_sweep(const Args& args, const RowWork& row_work) {
  const std::int64_t panel_bytes = args.quant->panel_bytes();
  for (std::int64_t n = args.first; n < args.last; ++n) {
    const std::byte* panel = args.panels + n * panel_bytes;
    const std::byte* following = n + 1 < args.last ? panel + panel_bytes : args.next;
    Panels::multiply(*args.quant, panel, following, args.a, args.rows, args.scratch);
    finish_rows(row_work(n, 0, args.scratch), args.rows);
  }
}

using FormatTest = bool (*)(const TileFormat&) noexcept;

/// kFixedPoint: formats that rows of three digits meet; null: none.
template <class Dot, FormatTest kFixedPoint>
struct DotPanels {
  MOEKIT_INLINE static void multiply(const QuantPanels& quant, const std::byte* panel, const std::byte* following,
                                     const std::byte* a, std::int64_t rows, float* c) {
    if constexpr (kFixedPoint != nullptr) {
      if (quant.digits == kFixedPointDigits) int_panel<Dot, kFixedPointDigits>(quant, panel, following, a, rows, c);
    }
    if (quant.digits == 1) int_panel<Dot, 1>(quant, panel, following, a, rows, c);
  }
};

template <class Panels>
struct IntSweep {
  template <class Args, class RowWork>
  MOEKIT_INLINE static void run(const Args& args, const RowWork& row_work) {
    int_sweep<Panels>(args, row_work);
  }
};

inline bool every_format(const TileFormat&) noexcept { return true; }
inline bool four_bits(const TileFormat& format) noexcept { return code_bits(format.weight.code) == 4; }

/// kFixedPoint: as in IntKernels.
template <class Dot, FormatTest kFixedPoint = nullptr>
constexpr IntKernels int_kernels() {
  using Sweep = IntSweep<DotPanels<Dot, kFixedPoint>>;
  return {int_gather<Dot::kSignedCodes>, up_sweep<float, Sweep>, down_sweep<Sweep>, kFixedPoint};
}

}  // namespace
}  // namespace moekit::cpu
