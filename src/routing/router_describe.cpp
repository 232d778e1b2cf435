// SPDX-License-Identifier: Apache-2.0
// A router in one sentence.
#include <sstream>

#include "moekit/router.h"
#include "routing/rules.h"

namespace moekit {
namespace {

void describe_groups(const RouterConfig& c, std::ostream& text) {
  switch (c.group_rule) {
    case GroupRule::kNone: return;
    case GroupRule::kArgmaxPerGroup: text << " (the best of each of " << c.n_group << " groups)"; return;
    case GroupRule::kMax:
      text << " of the " << c.topk_group << " best of " << c.n_group << " groups by maximum";
      return;
    case GroupRule::kTop2Sum:
      text << " of the " << c.topk_group << " best of " << c.n_group << " groups by the sum of their top 2";
      return;
  }
}

void describe_weights(const RouterConfig& c, std::ostream& text) {
  switch (c.renorm) {
    case Renorm::kOff: break;
    case Renorm::kAddEps:
    case Renorm::kClampMin: text << ", weights renormalised"; break;
    case Renorm::kPnorm: text << ", weights divided by their " << c.p << "-norm"; break;
  }
  if (c.scale != 1.0) text << ", x " << c.scale << (c.scale_at == ScaleAt::kOnRoutedSum ? " on the routed sum" : "");
  if (c.apply_at == ApplyAt::kInput) text << ", applied to the experts' input";
}

}  // namespace

std::string describe(const RouterConfig& c) {
  std::ostringstream text;
  if (c.source == RouterSource::kExternal) {
    text << "ids and weights from the caller, " << c.num_experts << " experts, " << c.top_k << " a token";
    if (c.scale_at == ScaleAt::kOnRoutedSum && c.scale != 1.0) text << ", x " << c.scale << " on the routed sum";
    if (c.apply_at == ApplyAt::kInput) text << ", applied to the experts' input";
    return text.str();
  }
  if (c.in_rmsnorm) text << "RMS norm, ";
  if (c.softcap != 0.0) text << "logits capped at " << c.softcap << ", ";
  text << score_rule(c.score).name << " over " << c.num_experts;
  if (c.num_identity != 0) text << " + " << c.num_identity << " identity";
  if (c.source == RouterSource::kHashTable) {
    text << ", " << c.top_k << " by token id";
  } else {
    text << ", top " << c.top_k;
    describe_groups(c, text);
  }
  describe_weights(c, text);
  return text.str();
}

}  // namespace moekit
