// SPDX-License-Identifier: Apache-2.0
// aclnnMoeGatingTopK: sigmoid or softmax scores, a bias for the choice only, groups, renormalisation, scale.
#include <algorithm>

#include "../core/settings.h"
#include "operator.h"

namespace ascend_double {
namespace {

struct Rule {
  int64_t k, kept_groups, groups, group_mode, renorm, norm;
  bool keep_scores;
  double scale, epsilon;
};

void check(const Rule& rule, int64_t experts) {
  const auto need = [](bool condition, const char* what, int64_t value, int64_t limit) {
    require(condition, code::kTiling, what, ": ", value, ", limit ", limit);
  };
  need(experts >= 1 && experts <= 2048, "number of experts", experts, 2048);
  need(rule.groups > 0, "groupCount", rule.groups, 1);
  need(experts % rule.groups == 0, "experts must divide into groupCount groups", experts, rule.groups);
  const int64_t group = experts / rule.groups;
  need(rule.group_mode == 0 || rule.group_mode == 1, "groupSelectMode", rule.group_mode, 1);
  need(group > rule.group_mode, "experts of a group", group, rule.group_mode + 1);
  need((group + 31) / 32 * 32 * rule.groups <= 2048, "experts, each group rounded up to 32", experts, 2048);
  need(rule.kept_groups >= 1 && rule.kept_groups <= rule.groups, "kGroup", rule.kept_groups, rule.groups);
  need(rule.k >= 1 && rule.k <= group * rule.kept_groups, "k", rule.k, group * rule.kept_groups);
  need(rule.norm == 0 || rule.norm == 1, "normType (2 needs another chip)", rule.norm, 1);
  need(rule.renorm == 0 || (rule.renorm == 1 && rule.norm == 0 && !settings().old_cann()), "renorm", rule.renorm, 0);
}

// Groups that stay, best first; the lower index wins a tie.
std::vector<bool> kept(const std::vector<float>& choice, const Rule& rule) {
  const size_t size = choice.size() / static_cast<size_t>(rule.groups);
  std::vector<float> scores;
  for (auto begin = choice.begin(); begin != choice.end(); begin += static_cast<std::ptrdiff_t>(size)) {
    std::vector<float> members(begin, begin + static_cast<std::ptrdiff_t>(size));
    std::sort(members.rbegin(), members.rend());
    scores.push_back(rule.group_mode == 0 ? members[0] : members[0] + members[1]);
  }
  std::vector<bool> result(scores.size(), false);
  for (const int64_t group : top_k(scores, rule.kept_groups)) result[static_cast<size_t>(group)] = true;
  return result;
}

void route_row(std::vector<float> scores, const std::vector<float>& bias, const Rule& rule, std::vector<float>* all,
               std::vector<int64_t>* ids, std::vector<float>* weights) {
  const auto experts = static_cast<int64_t>(scores.size());
  if (rule.norm == 0) {
    softmax(scores.data(), experts);
  } else {
    for (float& score : scores) score = sigmoid(score);
  }
  std::vector<float> choice = scores;
  for (size_t e = 0; e < bias.size(); ++e) choice[e] += bias[e];
  if (rule.groups > 1) {
    const std::vector<bool> stays = kept(choice, rule);
    const size_t size = choice.size() / stays.size();
    for (size_t e = 0; e < choice.size(); ++e) {
      if (!stays[e / size]) choice[e] = -INFINITY;
    }
  }
  *ids = top_k(choice, rule.k);
  weights->clear();
  float sum = 0;
  for (const int64_t id : *ids) sum += scores[static_cast<size_t>(id)];
  const bool divide = rule.norm == 1 || rule.renorm == 1;
  for (const int64_t id : *ids) {
    float weight = scores[static_cast<size_t>(id)];
    if (divide) weight /= sum + static_cast<float>(rule.epsilon);
    weights->push_back(weight * static_cast<float>(rule.scale));
  }
  *all = std::move(scores);
}

int gating_top_k(Handle x_handle, Handle bias_handle, int64_t k, int64_t kept_groups, int64_t groups,
                 int64_t group_mode, int64_t renorm, int64_t norm, bool keep_scores, double scale, double epsilon,
                 Handle y_handle, Handle ids_handle, Handle out_handle, uint64_t* workspace, void** executor) {
  Call call("aclnnMoeGatingTopK", workspace, executor);
  const Argument x = call.input("x", x_handle), bias = call.optional_input("biasOptional", bias_handle);
  const Argument y = call.output("yOut", y_handle), ids = call.output("expertIdxOut", ids_handle);
  const Argument out = call.output("outOut", out_handle);
  x.is(ASCEND_DOUBLE_FLOATS).has_rank(2, 2, code::kTiling);
  const int64_t tokens = x.dim(0), experts = x.dim(1);
  const Rule rule{k, kept_groups, groups, group_mode, renorm, norm, keep_scores, scale, epsilon};
  check(rule, experts);
  bias.is({x.dtype()}).has_shape({experts}, code::kTiling);
  y.is({x.dtype()}).has_shape({tokens, k}, code::kTiling);
  ids.is({DataType::kInt32}).has_shape({tokens, k}, code::kTiling);
  out.is({DataType::kFloat}).has_shape({tokens, experts}, code::kTiling);
  return call.finish(odd_workspace(x.elements()), [=](const Arrays& arrays) {
    const std::vector<float> biases = bias.present() ? arrays[bias.index()].row(0) : std::vector<float>();
    std::vector<float> all, weights;
    std::vector<int64_t> chosen;
    for (int64_t t = 0; t < tokens; ++t) {
      route_row(arrays[x.index()].row(t), biases, rule, &all, &chosen, &weights);
      for (int64_t j = 0; j < k; ++j) {
        arrays[y.index()].set(t * k + j, weights[static_cast<size_t>(j)]);
        arrays[ids.index()].set_integer(t * k + j, chosen[static_cast<size_t>(j)]);
      }
      for (int64_t e = 0; keep_scores && e < experts; ++e) {
        arrays[out.index()].set(t * experts + e, all[static_cast<size_t>(e)]);
      }
    }
  });
}

}  // namespace
}  // namespace ascend_double

using namespace ascend_double;
ASCEND_DOUBLE_OPERATOR(aclnnMoeGatingTopK, gating_top_k)
