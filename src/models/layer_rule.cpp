// SPDX-License-Identifier: Apache-2.0
// Which decoder layers have experts.
#include <set>

#include "models/family.h"

namespace moekit {
namespace {

// A list of the layers is built; real models have below 200.
constexpr std::int64_t kMaxLayers = 100'000;

/// moe_layer_freq in the dialect that lists a 0 or 1 for each layer.
const Json::Array* per_layer_list(const Family& family, const Config& config, std::int64_t layers) {
  const LayerRule& rule = family.layer_rule;
  const Json* list = rule.type_list != nullptr ? config.find({rule.type_list}) : nullptr;
  if (list == nullptr || list->is_null()) {
    list = config.find(rule.step.names);
    if (list == nullptr || list->array() == nullptr) return nullptr;
  }
  const Json::Array* items = list->array();
  if (items == nullptr || items->size() != static_cast<std::size_t>(layers))
    config.fail("a list of layer kinds is " + list->text() + ", expected one for each of " + std::to_string(layers) +
                " layers");
  for (const Json& item : *items)
    if (!(item == "sparse" || item == "dense" || item == 0 || item == 1))
      config.fail("a list of layer kinds holds " + item.text() + ", expected sparse, dense, 1 or 0");
  return items;
}

}  // namespace

std::int64_t count_layers(const Family& family, const Config& config) {
  const std::int64_t layers = config.integer(family.layers, 1);
  if (layers > kMaxLayers)
    config.fail(field_text(family.layers.names) + " is " + std::to_string(layers) + ", the limit is " +
                std::to_string(kMaxLayers));
  return layers;
}

std::vector<std::int64_t> moe_layers(const Family& family, const Config& config) {
  const LayerRule& rule = family.layer_rule;
  const std::int64_t layers = count_layers(family, config);
  std::vector<std::int64_t> result;
  if (const Json::Array* list = per_layer_list(family, config, layers)) {
    for (std::int64_t layer = 0; layer < layers; ++layer) {
      const Json& kind = (*list)[static_cast<std::size_t>(layer)];
      if (kind == "sparse" || kind == 1) result.push_back(layer);
    }
    return result;
  }
  const std::int64_t first = config.integer(rule.first, 0);
  const std::int64_t last = config.integer(rule.last, -1);
  const std::int64_t step = config.integer(rule.step, 1);
  const std::int64_t phase = rule.phase - config.integer(rule.offset, 0);
  std::set<std::int64_t> dense;
  if (rule.dense_list != nullptr) {
    const std::vector<std::int64_t> list = config.integers(rule.dense_list);
    dense.insert(list.begin(), list.end());
  }
  for (std::int64_t layer = first; layer < layers && (last < 0 || layer <= last); ++layer)
    if ((layer + phase) % step == 0 && dense.count(layer) == 0) result.push_back(layer);
  return result;
}

}  // namespace moekit
