// SPDX-License-Identifier: Apache-2.0
// The steps of select(), one file each. All are noexcept and work on one row.
#pragma once

#include <cstdint>
#include <string_view>

#include "core/float_convert.h"
#include "routing/routing.h"

namespace moekit {

/// Rounds to bfloat16 or float16: where transformers keeps a tensor in the model's dtype, every operation on it
/// computes in float32 and rounds its result.
inline float rounded(float value, DType dtype) noexcept {
  if (dtype == DType::kBFloat16) return round_to_bf16(value);
  return dtype == DType::kFloat16 ? fp16_to_float(float_to_fp16(value)) : value;
}

/// The dtype of a step's results, for x of dtype `native`.
inline DType rounding(Precision precision, DType native) noexcept {
  return precision == Precision::kNative ? native : DType::kFloat32;
}

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
  /// s[i] = score of z[i], i < n, rounded to `dtype`. May run in place. Null where choose() does everything.
  void (*score)(const float* z, std::int64_t n, DType dtype, float* s) noexcept;
  /// Choice and weights at once, for a rule whose weights depend on the order of the choice. Usually null.
  void (*choose)(const RouterConfig& config, DType dtype, RouteScratch& scratch, std::int32_t* ids,
                 float* weights) noexcept;
};
const ScoreRule& score_rule(Score score) noexcept;

/// ids of the k largest of n values, descending; see select() for the order. k <= n. `keys` holds n elements.
void top_k(const float* values, std::int64_t n, std::int64_t k, std::uint64_t* keys, std::int32_t* ids) noexcept;
/// Whether any value is NaN.
bool any_nan(const float* values, std::int64_t n) noexcept;
/// Largest value that is not NaN; -Inf when there is none.
float max_value(const float* values, std::int64_t n) noexcept;

/// Chooses top_k columns by scratch.choice under the group rule; overwrites choice. `dtype`: of the choice.
void choose_columns(const RouterConfig& config, DType dtype, RouteScratch& scratch, std::int32_t* ids) noexcept;

/// Divides k weights of `dtype` by their norm.
void renormalise(const RouterConfig& config, DType dtype, std::int64_t k, float* weights) noexcept;

}  // namespace moekit
