// SPDX-License-Identifier: Apache-2.0
// Validation of a router's configuration.
#include <cmath>
#include <stdexcept>
#include <string>

#include "core/checks.h"
#include "moekit/router.h"

namespace moekit {
namespace {

// Ids are int32 and some buffers hold a float a column; the largest published router has 768 columns.
constexpr std::int64_t kMaxColumns = std::int64_t{1} << 20;

const Checker kCheck{"router config"};

void check_enums(const RouterConfig& c) {
  kCheck.in_enum("source", c.source, RouterSource::kExternal);
  kCheck.in_enum("matmul", c.matmul, Precision::kFloat32);
  kCheck.in_enum("score_in", c.score_in, Precision::kFloat32);
  kCheck.in_enum("out", c.out, Precision::kFloat32);
  kCheck.in_enum("score", c.score, Score::kSparsemixer);
  kCheck.in_enum("select_on", c.select_on, SelectOn::kLogit);
  kCheck.in_enum("group_rule", c.group_rule, GroupRule::kArgmaxPerGroup);
  kCheck.in_enum("renorm", c.renorm, Renorm::kPnorm);
  kCheck.in_enum("scale_at", c.scale_at, ScaleAt::kOnRoutedSum);
  kCheck.in_enum("apply_at", c.apply_at, ApplyAt::kInput);
}

void check_groups(const RouterConfig& c) {
  if (c.group_rule == GroupRule::kNone) return;
  const std::int64_t columns = c.columns();
  kCheck.in_range("n_group", c.n_group, 1, columns);
  if (columns % c.n_group != 0)
    kCheck.fail("n_group", std::to_string(c.n_group), "a divisor of the " + std::to_string(columns) + " columns");
  const std::int64_t size = columns / c.n_group;
  if (c.group_rule == GroupRule::kArgmaxPerGroup) {
    if (c.top_k != c.n_group)
      kCheck.fail("top_k", std::to_string(c.top_k), "n_group = " + std::to_string(c.n_group) + ": one column a group");
    return;
  }
  kCheck.in_range("topk_group", c.topk_group, 1, c.n_group);
  if (c.group_rule == GroupRule::kTop2Sum && size < 2)
    kCheck.fail("n_group", std::to_string(c.n_group), "at most columns / 2: a group score adds two columns");
  kCheck.in_range("top_k", c.top_k, 1, c.topk_group * size);
  if (c.mask_fill != 0.0 && !(std::isinf(c.mask_fill) && c.mask_fill < 0.0))
    kCheck.fail("mask_fill", std::to_string(c.mask_fill), "0 or -Inf");
}

// A rule that chooses by itself has no place for the settings of the common choice.
void check_combinations(const RouterConfig& c) {
  if (c.all_experts && (c.top_k != c.columns() || c.source != RouterSource::kComputed || c.score != Score::kSoftmax))
    kCheck.fail("all_experts", "top_k " + std::to_string(c.top_k),
                "a softmax over all " + std::to_string(c.columns()) + " columns with top_k equal to them");
  if (c.score == Score::kSparsemixer) {
    if (c.source != RouterSource::kComputed)
      kCheck.fail("source", "not computed", "computed: sparsemixer chooses itself");
    if (c.group_rule != GroupRule::kNone) kCheck.fail("group_rule", "not none", "none: sparsemixer chooses itself");
  }
  if (c.source == RouterSource::kHashTable && c.group_rule != GroupRule::kNone)
    kCheck.fail("group_rule", "not none", "none: the hash table chooses");
}

}  // namespace

void validate(const RouterConfig& c) {
  check_enums(c);
  kCheck.in_range("num_experts", c.num_experts, 1, kMaxColumns);
  kCheck.in_range("num_identity", c.num_identity, 0, kMaxColumns - c.num_experts);
  kCheck.in_range("top_k", c.top_k, 1, c.columns());
  kCheck.finite("in_mult", c.in_mult);
  kCheck.finite("logit_mult", c.logit_mult);
  kCheck.finite("scale", c.scale);
  kCheck.not_negative("in_eps", c.in_eps);
  kCheck.not_negative("softcap", c.softcap);
  kCheck.not_negative("sparsemixer_eps", c.sparsemixer_eps);
  kCheck.not_negative("eps", c.eps);
  if (!(c.p > 0.0)) kCheck.fail("p", std::to_string(c.p), "> 0");
  check_groups(c);
  check_combinations(c);
}

}  // namespace moekit
