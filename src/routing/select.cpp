// SPDX-License-Identifier: Apache-2.0
// The routing pipeline of one row; the steps are in files of their own.
#include <algorithm>
#include <limits>
#include <numeric>

#include "core/elementary.h"
#include "routing/rules.h"

namespace moekit {
namespace {

// z from x Wg^T: bias, multiplier, soft cap. Every operation rounds to `dtype`, as on tensors of it; the bias is added
// inside the matrix product, before its rounding.
void finish_logits(const RouterConfig& config, const RouterTables& tables, const float* logits, DType dtype,
                   float* z) noexcept {
  const std::int64_t n = config.columns();
  if (tables.bias.empty()) {
    std::copy(logits, logits + n, z);
  } else {
    for (std::int64_t i = 0; i < n; ++i) z[i] = logits[i] + tables.bias[static_cast<std::size_t>(i)];
  }
  if (dtype != DType::kFloat32)
    for (std::int64_t i = 0; i < n; ++i) z[i] = rounded(z[i], dtype);
  if (config.logit_mult != 1.0) {
    const float mult = static_cast<float>(config.logit_mult);
    for (std::int64_t i = 0; i < n; ++i) z[i] = rounded(z[i] * mult, dtype);
  }
  if (config.softcap != 0.0) {
    const float cap = static_cast<float>(config.softcap);
    for (std::int64_t i = 0; i < n; ++i)
      z[i] = rounded(cap * rounded(elementary::tanh(rounded(z[i] / cap, dtype)), dtype), dtype);
  }
}

// Ids and weights before renormalisation.
void choose(const RouterConfig& config, const RouterTables& tables, DType logit_dtype, DType score_dtype,
            const std::int32_t* forced_ids, RouteScratch& scratch, std::int32_t* ids, float* weights) noexcept {
  const ScoreRule& rule = score_rule(config.score);
  if (rule.choose != nullptr) return rule.choose(config, score_dtype, scratch, ids, weights);

  const std::int64_t n = config.columns(), k = config.top_k;
  const bool on_logits = config.select_on == SelectOn::kLogit || rule.scope == ScoreRule::Scope::kChosen;
  const bool whole_row = rule.scope == ScoreRule::Scope::kRow ||
                         (rule.scope == ScoreRule::Scope::kElement && !on_logits && forced_ids == nullptr);
  const float* z = scratch.logits.data();
  float* s = scratch.scores.data();
  if (whole_row) rule.score(z, n, score_dtype, s);

  if (config.all_experts) {
    std::iota(ids, ids + k, 0);
  } else if (forced_ids != nullptr) {
    std::copy(forced_ids, forced_ids + k, ids);
  } else {
    const float* base = on_logits ? z : s;
    float* choice = scratch.choice.data();
    if (tables.selection_bias.empty()) {
      std::copy(base, base + n, choice);
    } else {
      for (std::int64_t i = 0; i < n; ++i) choice[i] = base[i] + tables.selection_bias[static_cast<std::size_t>(i)];
    }
    // A float32 selection bias promotes the sum to float32; without one the values stay in their own dtype.
    const DType own = on_logits ? logit_dtype : score_dtype;
    choose_columns(config, tables.selection_bias.empty() ? own : DType::kFloat32, scratch, ids);
  }

  const float* source = whole_row ? s : z;
  for (std::int64_t j = 0; j < k; ++j) weights[j] = source[ids[j]];
  if (!whole_row) rule.score(weights, k, score_dtype, weights);
}

}  // namespace

void RouteScratch::reserve(const RouterConfig& config) {
  const auto n = static_cast<std::size_t>(config.columns());
  if (keys.size() >= n) return;
  for (std::vector<float>* buffer : {&logits, &scores, &choice, &group}) buffer->resize(n);
  order.resize(n);
  keys.resize(n);  // last: its size says that all have grown
}

void select(const RouterConfig& config, const RouterTables& tables, const float* logits, DType native,
            const std::int32_t* forced_ids, RouteScratch& scratch, std::int32_t* ids, float* weights) noexcept {
  scratch.reserve(config);
  const std::int64_t k = config.top_k;
  const DType logit_dtype = rounding(config.matmul, native), score_dtype = rounding(config.score_in, native),
              out_dtype = rounding(config.out, native);

  finish_logits(config, tables, logits, logit_dtype, scratch.logits.data());
  choose(config, tables, logit_dtype, score_dtype, forced_ids, scratch, ids, weights);
  renormalise(config, score_dtype, k, weights);
  if (config.scale_at == ScaleAt::kOnWeights && config.scale != 1.0) {
    const float scale = static_cast<float>(config.scale);
    for (std::int64_t j = 0; j < k; ++j) weights[j] = rounded(weights[j] * scale, score_dtype);
  }
  if (!tables.per_expert_scale.empty())
    for (std::int64_t j = 0; j < k; ++j)
      weights[j] = rounded(weights[j] * tables.per_expert_scale[static_cast<std::size_t>(ids[j])], score_dtype);
  if (out_dtype != DType::kFloat32)
    for (std::int64_t j = 0; j < k; ++j) weights[j] = rounded(weights[j], out_dtype);
  constexpr float kNan = std::numeric_limits<float>::quiet_NaN();
  if (any_nan(scratch.logits.data(), config.columns())) std::fill(weights, weights + k, kNan);
  // Every NaN is the same one: which one an operation makes is the processor's choice.
  for (std::int64_t j = 0; j < k; ++j) weights[j] = weights[j] == weights[j] ? weights[j] : kNan;
}

}  // namespace moekit
