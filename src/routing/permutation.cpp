// SPDX-License-Identifier: Apache-2.0
#include "moekit/permutation.h"

#include <limits>
#include <stdexcept>
#include <string>

namespace moekit {
namespace {

[[noreturn]] void bad_id(const RoutingView& routing, std::int64_t slot, std::int64_t experts) {
  throw std::invalid_argument("[permute] expert id " + std::to_string(routing.expert_ids[slot]) + " at row " +
                              std::to_string(slot / routing.top_k) + ", column " +
                              std::to_string(slot % routing.top_k) + " is not in -1 .. " + std::to_string(experts - 1));
}

}  // namespace

// A counting sort. begin[e] is first the start of expert e and, once its rows are placed, their end: the start of
// e + 1, so that the array seen from one entry earlier is the list of offsets.
void permute(const RoutingView& routing, std::int64_t experts, TokenPermutation& out) {
  if (experts < 0) throw std::invalid_argument("[permute] experts = " + std::to_string(experts) + " is negative");
  if (routing.tokens < 0 || routing.tokens > std::numeric_limits<std::int32_t>::max())
    throw std::invalid_argument("[permute] tokens = " + std::to_string(routing.tokens) + " is not in 0 .. 2^31 - 1");
  const std::int64_t slots = checked_mul(routing.tokens, routing.top_k, "tokens * top_k");
  out.offsets.assign(static_cast<std::size_t>(experts) + 2, 0);
  std::int64_t* begin = out.offsets.data() + 1;  // [experts + 1]; while counting, expert e counts in begin[e + 1]
  for (std::int64_t slot = 0; slot < slots; ++slot) {
    const std::int32_t id = routing.expert_ids[slot];
    if (id < -1 || id >= experts) bad_id(routing, slot, experts);
    if (id >= 0) ++begin[id + 1];
  }
  for (std::int64_t e = 0; e < experts; ++e) begin[e + 1] += begin[e];
  const auto rows = static_cast<std::size_t>(begin[experts]);
  out.token.resize(rows);
  out.weight.resize(rows);
  out.slot.resize(rows);
  std::int64_t slot = 0;
  for (std::int64_t t = 0; t < routing.tokens; ++t) {
    for (std::int64_t j = 0; j < routing.top_k; ++j, ++slot) {
      const std::int32_t id = routing.expert_ids[slot];
      if (id < 0) continue;
      const auto row = static_cast<std::size_t>(begin[id]++);
      out.token[row] = static_cast<std::int32_t>(t);
      out.weight[row] = routing.weights[slot];
      out.slot[row] = slot;
    }
  }
  out.offsets.pop_back();
}

}  // namespace moekit
