// SPDX-License-Identifier: Apache-2.0
// Which decoder layers have experts.
#include <algorithm>
#include <set>
#include <string>

#include "models/family.h"

namespace moekit {
namespace {

// A list of the layers is built; real models have below 200.
constexpr std::int64_t kMaxLayers = 100'000;

bool is_one_of(const Json& item, const std::vector<const char*>& kinds) {
  return std::any_of(kinds.begin(), kinds.end(), [&](const char* kind) { return item == kind; });
}

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
    if (!is_one_of(item, rule.sparse_types) && !is_one_of(item, rule.dense_types) && !(item == 0 || item == 1)) {
      std::string known;
      for (const auto* kinds : {&rule.sparse_types, &rule.dense_types})
        for (const char* kind : *kinds) known += std::string(kind) + ", ";
      config.fail("a list of layer kinds holds " + item.text() + ", expected " + known + "1 or 0");
    }
  return items;
}

/// Layers with an E in the pattern, when there is one.
bool read_pattern(const Family& family, const Config& config, std::int64_t layers, std::vector<std::int64_t>& result) {
  const char* name = family.layer_rule.pattern;
  const Json* value = name != nullptr ? config.find({name}) : nullptr;
  if (value == nullptr || value->is_null()) return false;
  if (value->string() == nullptr || value->string()->size() != static_cast<std::size_t>(layers))
    config.fail(std::string(name) + " is " + value->text() + ", expected a letter for each of " +
                std::to_string(layers) + " layers");
  for (std::int64_t layer = 0; layer < layers; ++layer)
    if ((*value->string())[static_cast<std::size_t>(layer)] == 'E') result.push_back(layer);
  return true;
}

/// Layers in the list of those with experts, when there is one.
bool read_sparse_list(const Family& family, const Config& config, std::int64_t layers,
                      std::vector<std::int64_t>& result) {
  const char* name = family.layer_rule.sparse_list;
  const Json* value = name != nullptr ? config.find({name}) : nullptr;
  if (value == nullptr || value->is_null()) return false;
  std::set<std::int64_t> sorted;
  if (const std::string* text = value->string()) {
    for (std::size_t begin = 0; begin <= text->size();) {
      const std::size_t end = std::min(text->find(',', begin), text->size());
      const std::string item = text->substr(begin, end - begin);
      if (item.empty() || item.size() > 6 || item.find_first_not_of("0123456789") != std::string::npos)
        config.fail(std::string(name) + " is " + value->text() + ", expected layer indices with commas");
      sorted.insert(std::stoll(item));
      begin = end + 1;
    }
  } else {
    const std::vector<std::int64_t> list = config.integers(name);
    sorted.insert(list.begin(), list.end());
  }
  for (const std::int64_t layer : sorted)
    if (layer < layers) result.push_back(layer);
  return true;
}

}  // namespace

LayerRule every_layer() { return LayerRule(); }

std::int64_t count_layers(const Family& family, const Config& config) {
  Field field = family.layers;
  const Json* kinds = family.layer_rule.type_list != nullptr ? config.find({family.layer_rule.type_list}) : nullptr;
  if (kinds != nullptr && kinds->array() != nullptr)  // Nemotron-H's class writes the list only
    field.absent = static_cast<double>(kinds->array()->size());
  const std::int64_t layers = config.integer(field, 1);
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
      if (is_one_of(kind, rule.sparse_types) || kind == 1) result.push_back(layer);
    }
    return result;
  }
  if (read_pattern(family, config, layers, result) || read_sparse_list(family, config, layers, result)) return result;
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

bool is_hash_layer(const Family& family, const Config& config, std::int64_t layer) {
  if (family.hash_type == nullptr) return false;
  if (const Json::Array* list = per_layer_list(family, config, count_layers(family, config)))
    return (*list)[static_cast<std::size_t>(layer)] == family.hash_type;
  return layer < config.integer(family.hash_layers, 0);
}

}  // namespace moekit
