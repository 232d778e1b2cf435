// SPDX-License-Identifier: Apache-2.0
#include "models/expert_sets.h"

#include <algorithm>

#include "checkpoint/text.h"

namespace moekit {

std::size_t find_set(const Family& family, const std::string& name, const Config& config) {
  if (name.empty()) return 0;
  std::string known;
  for (std::size_t i = 0; i < family.sets.size(); ++i) {
    if (name == family.sets[i].name) return i;
    known += (known.empty() ? "" : ", ") + std::string(family.sets[i].name);
  }
  config.fail("no expert set " + in_quotes(name) + ": family " + family.name + " has " +
              (known.empty() ? "one, which has no name" : known));
}

void check_set_layers(const Family& family, Config& config) {
  const std::size_t count = family.sets.size();
  if (count == 0) return;
  config.select_set(0, count);
  const std::vector<std::int64_t> first = moe_layers(family, config);
  for (std::size_t set = 1; set < count; ++set) {
    config.select_set(set, count);
    const std::vector<std::int64_t> layers = moe_layers(family, config);
    if (layers != first)
      config.fail("layers with experts are " + shape_text(first) + " for " + family.sets.front().name + " and " +
                  shape_text(layers) + " for " + family.sets[set].name + ", expected the same");
  }
  config.select_set(0, count);
}

Family enter_set(const Family& family, std::size_t set, std::int64_t first_expert, Accounting& tensors) {
  Family named = family;
  if (family.sets.empty()) return named;
  const auto folder = [](const ExpertSet& each) { return std::string(each.name) + "."; };
  const bool folders = std::any_of(family.sets.begin(), family.sets.end(),
                                   [&](const ExpertSet& each) { return tensors.has_folder(folder(each)); });
  if (folders) {
    tensors.enter(folder(family.sets[set]));
    return named;
  }
  named.router_weight = {family.sets[set].router_weight};
  named.selection_bias = {family.sets[set].selection_bias};
  named.place = {first_expert, static_cast<std::int64_t>(set), static_cast<std::int64_t>(family.sets.size()), true};
  return named;
}

}  // namespace moekit
