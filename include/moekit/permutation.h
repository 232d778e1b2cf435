// SPDX-License-Identifier: Apache-2.0
// Token permutation: the (token, slot) pairs of a routing, sorted by expert, in token order within an expert.
#pragma once

#include <cstdint>
#include <vector>

#include "moekit/router.h"

namespace moekit {

struct TokenPermutation {
  std::vector<std::int64_t> offsets;  // [experts + 1]: rows of expert e are offsets[e] .. offsets[e + 1]
  std::vector<std::int32_t> token;    // [rows] source token
  std::vector<float> weight;          // [rows] routing weight
  std::vector<std::int64_t> slot;     // [rows] position token * k + j in the routing
};

/// Sorts a routing by expert (ids 0 .. experts - 1; -1 is skipped), stable, in O(T k + experts), reusing out's memory.
/// Throws std::invalid_argument naming row, column and the value for any other id.
void permute(const RoutingView& routing, std::int64_t experts, TokenPermutation& out);

}  // namespace moekit
