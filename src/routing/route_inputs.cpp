// SPDX-License-Identifier: Apache-2.0
// Checks of what a caller hands to a call besides x.
#include <stdexcept>
#include <string>

#include "routing/routing.h"

namespace moekit {
namespace {

[[noreturn]] void fail(const std::string& what) { throw std::invalid_argument("[route] " + what); }

void check_token_ids(const std::int64_t* token_ids, std::int64_t tokens, std::int64_t vocabulary) {
  if (token_ids == nullptr) fail("token_ids are missing: this layer routes by token id");
  for (std::int64_t t = 0; t < tokens; ++t)
    if (token_ids[t] < 0 || token_ids[t] >= vocabulary)
      fail("token id " + std::to_string(token_ids[t]) + " at row " + std::to_string(t) + " is not in 0 .. " +
           std::to_string(vocabulary - 1));
}

void check_expert_ids(const RouterConfig& config, const std::int32_t* ids, std::int64_t tokens) {
  const std::int64_t k = config.top_k, columns = config.columns();
  for (std::int64_t slot = 0; slot < tokens * k; ++slot)
    if (ids[slot] < -1 || ids[slot] >= columns)
      fail("expert id " + std::to_string(ids[slot]) + " at row " + std::to_string(slot / k) + ", column " +
           std::to_string(slot % k) + " is not in -1 .. " + std::to_string(columns - 1) + " (-1 skips the slot)");
}

}  // namespace

void validate(const RouterConfig& config, const RouterTables& tables, const RouteInputs& inputs, std::int64_t tokens) {
  const bool external = config.source == RouterSource::kExternal;
  if (!external && (inputs.expert_ids != nullptr || inputs.weights != nullptr))
    fail("expert_ids or weights were given, but this layer routes by itself");
  if (tokens == 0) return;
  if (config.source == RouterSource::kHashTable) check_token_ids(inputs.token_ids, tokens, tables.vocabulary);
  if (!external) return;
  if (inputs.expert_ids == nullptr) fail("expert_ids are missing: this layer is routed by the caller");
  if (inputs.weights == nullptr) fail("weights are missing: this layer is routed by the caller");
  checked_mul(tokens, config.top_k, "tokens * top_k");
  check_expert_ids(config, inputs.expert_ids, tokens);
}

}  // namespace moekit
