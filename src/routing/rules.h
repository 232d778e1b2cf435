// SPDX-License-Identifier: Apache-2.0
// The steps of select(), one file each. All are noexcept and work on one row.
#pragma once

#include <cstdint>
#include <string_view>

#include "core/float_convert.h"
#include "routing/routing.h"

namespace moekit {

/// Rounds to bfloat16 when `bf16`: where transformers keeps a tensor in the model's dtype, every operation on it
/// computes in float32 and rounds its result.
inline float rounded(float value, bool bf16) noexcept { return bf16 ? round_to_bf16(value) : value; }

/// How scores come from logits.
struct ScoreRule {
  /// What score() must see at once.
  enum class Scope : std::uint8_t {
    kRow,      // all columns: a softmax
    kElement,  // any subset
    kChosen,   // the chosen logits only; the choice is made on the logits
  };

  std::string_view name;
  Scope scope;
  /// s[i] = score of z[i], i < n. May run in place. Null where choose() does everything.
  void (*score)(const float* z, std::int64_t n, bool bf16, float* s) noexcept;
  /// Choice and weights at once, for a rule whose weights depend on the order of the choice. Usually null.
  void (*choose)(const RouterConfig& config, bool bf16, RouteScratch& scratch, std::int32_t* ids,
                 float* weights) noexcept;
};
const ScoreRule& score_rule(Score score) noexcept;

/// ids of the k largest of n values, descending; see select() for the order. k <= n. `keys` holds n elements.
void top_k(const float* values, std::int64_t n, std::int64_t k, std::uint64_t* keys, std::int32_t* ids) noexcept;
/// Whether any value is NaN.
bool any_nan(const float* values, std::int64_t n) noexcept;
/// Largest value that is not NaN; -Inf when there is none.
float max_value(const float* values, std::int64_t n) noexcept;

/// Chooses top_k columns by scratch.choice under the group rule; overwrites choice. `bf16`: choice is in bfloat16.
void choose_columns(const RouterConfig& config, bool bf16, RouteScratch& scratch, std::int32_t* ids) noexcept;

/// Divides k weights by their norm.
void renormalise(const RouterConfig& config, bool bf16, std::int64_t k, float* weights) noexcept;

}  // namespace moekit
