// SPDX-License-Identifier: Apache-2.0
// Group-limited choice: columns lie in n_group equal runs.
#include <algorithm>
#include <limits>

#include "routing/rules.h"

namespace moekit {
namespace {

constexpr float kNegativeInfinity = -std::numeric_limits<float>::infinity();

// Sum of the two largest (DeepSeek-V3, Mistral 4). NaN ranks below every number here as everywhere.
float top2_sum(const float* values, std::int64_t n, DType dtype) noexcept {
  float first = kNegativeInfinity, second = kNegativeInfinity;
  for (std::int64_t i = 0; i < n; ++i) {
    if (values[i] > first) {
      second = first;
      first = values[i];
    } else if (values[i] > second) {
      second = values[i];
    }
  }
  return rounded(first + second, dtype);
}

// Keeps topk_group groups by their group score, the others become mask_fill.
void mask_groups(const RouterConfig& config, DType dtype, RouteScratch& scratch) noexcept {
  const std::int64_t groups = config.n_group, size = config.columns() / groups;
  if (config.topk_group == groups) return;
  float* choice = scratch.choice.data();
  float* score = scratch.group.data();
  for (std::int64_t g = 0; g < groups; ++g)
    score[g] = config.group_rule == GroupRule::kMax ? max_value(choice + g * size, size)
                                                    : top2_sum(choice + g * size, size, dtype);
  std::int32_t* kept = scratch.order.data();
  top_k(score, groups, config.topk_group, scratch.keys.data(), kept);
  std::sort(kept, kept + config.topk_group);
  const float fill = static_cast<float>(config.mask_fill);
  std::int64_t next = 0;
  for (std::int64_t g = 0; g < groups; ++g) {
    if (next < config.topk_group && kept[next] == g) {
      ++next;
    } else {
      std::fill(choice + g * size, choice + (g + 1) * size, fill);
    }
  }
}

// One column of each group (Pangu Pro MoGE), then the common descending order.
void argmax_per_group(const RouterConfig& config, RouteScratch& scratch, std::int32_t* ids) noexcept {
  const std::int64_t groups = config.n_group, size = config.columns() / groups;
  const float* choice = scratch.choice.data();
  float* best = scratch.group.data();
  std::int32_t* column = scratch.order.data();
  for (std::int64_t g = 0; g < groups; ++g) {
    std::int32_t winner = 0;
    top_k(choice + g * size, size, 1, scratch.keys.data(), &winner);
    column[g] = static_cast<std::int32_t>(g * size) + winner;
    best[g] = choice[column[g]];
  }
  // Columns ascend with groups, so ties of values still go to the lowest id.
  top_k(best, groups, groups, scratch.keys.data(), ids);
  for (std::int64_t j = 0; j < groups; ++j) ids[j] = column[ids[j]];
}

}  // namespace

void choose_columns(const RouterConfig& config, DType dtype, RouteScratch& scratch, std::int32_t* ids) noexcept {
  if (config.group_rule == GroupRule::kArgmaxPerGroup) return argmax_per_group(config, scratch, ids);
  if (config.group_rule != GroupRule::kNone) mask_groups(config, dtype, scratch);
  top_k(scratch.choice.data(), config.columns(), config.top_k, scratch.keys.data(), ids);
}

}  // namespace moekit
