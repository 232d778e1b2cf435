// SPDX-License-Identifier: Apache-2.0
// Kernels whose time is that of reading the weights: a few rows, known when they are compiled, meet one panel or two.
#pragma once

#include <cstdint>
#include <type_traits>

namespace moekit::cpu {
namespace {

/// Rows beyond this unpack quantised panels once for all instead: four rows' multiply-adds take as long as the
/// unpacking that they share. Where two panels go at once, the accumulators of the second are so many rows later.
constexpr int kFusedRows = 4;

/// Calls with(R) for the first R, an integral constant, that is no fewer than `rows`; the last one must be. (Blocks of
/// A have 16 rows, of which those beyond the batch may hold anything.)
template <int... R, class With>
void with_rows(std::int64_t rows, const With& with) {
  static_cast<void>(((rows <= R && (with(std::integral_constant<int, R>()), true)) || ...));
}

}  // namespace
}  // namespace moekit::cpu
