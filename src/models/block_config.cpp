// SPDX-License-Identifier: Apache-2.0
// config.json and a family's data to a block's configuration.
#include <algorithm>
#include <cmath>
#include <set>
#include <string_view>

#include "models/family.h"
#include "models/quantisation.h"

namespace moekit {
namespace {

struct ActivationName {
  std::string_view name;
  Activation act;
};
constexpr ActivationName kActivations[] = {
    {"silu", Activation::kSilu},   {"swish", Activation::kSilu},
    {"gelu", Activation::kGelu},   {"gelu_pytorch_tanh", Activation::kGeluTanh},
    {"relu2", Activation::kRelu2},
};

/// Fields whose names have a routing word and that only training, logging or parallel set-ups read.
constexpr std::string_view kIrrelevant[] = {
    "output_router_logits", "router_aux_loss_coef", "aux_loss_alpha", "router_jitter_noise",
    "router_z_loss_coef",   "input_jitter_noise",   "seq_aux",        "ep_size",
};

bool has_routing_word(std::string_view field) {
  constexpr std::string_view kWords[] = {"expert",  "experts", "moe",   "router", "routed",
                                         "routing", "topk",    "group", "scoring"};
  std::size_t begin = 0;
  while (begin <= field.size()) {
    const std::size_t end = std::min(field.find('_', begin), field.size());
    const std::string_view word = field.substr(begin, end - begin);
    if (std::find(std::begin(kWords), std::end(kWords), word) != std::end(kWords)) return true;
    begin = end + 1;
  }
  return false;
}

std::set<std::string_view> understood_fields(const Family& family) {
  std::set<std::string_view> names(std::begin(kIrrelevant), std::end(kIrrelevant));
  for (const Field* field : {&family.identity,
                             &family.p,
                             &family.softcap,
                             &family.logit_mult,
                             &family.in_eps,
                             &family.has_selection_bias,
                             &family.hash_layers,
                             &family.vocabulary,
                             &family.hidden,
                             &family.layers,
                             &family.experts,
                             &family.top_k,
                             &family.intermediate,
                             &family.renorm,
                             &family.scale,
                             &family.groups,
                             &family.kept_groups,
                             &family.shared_count,
                             &family.shared_intermediate,
                             &family.eps,
                             &family.sparsemixer_eps,
                             &family.limit,
                             &family.alpha,
                             &family.layer_rule.first,
                             &family.layer_rule.last,
                             &family.layer_rule.step,
                             &family.layer_rule.offset})
    names.insert(field->names.begin(), field->names.end());
  for (const KnownValues& known : family.known_values) names.insert(known.field);
  names.insert(family.irrelevant.begin(), family.irrelevant.end());
  for (const char* name : {family.score_choice.field, family.shared_gate_choice.field})
    if (name != nullptr) names.insert(name);
  if (family.group_switch.field != nullptr) names.insert(family.group_switch.field);
  for (const char* name : {family.layer_rule.dense_list, family.layer_rule.type_list, family.layer_rule.sparse_list,
                           family.layer_rule.pattern, family.limit_list, family.shared_limit_list})
    if (name != nullptr) names.insert(name);
  return names;
}

/// A field that is off needs no understanding.
bool is_off(const Json& value) {
  return value.is_null() || value == false || value.number() == 0.0 || value == "" ||
         (value.array() != nullptr && value.array()->empty());
}

/// `prefix`: path of the object in the text model, with a dot at its end.
void check_unknown_fields(const Family& family, const Config& config, const Json::Object& object,
                          const std::string& prefix) {
  const std::set<std::string_view> understood = understood_fields(family);
  for (const auto& [name, place] : object.index) {
    const Json& value = object.values[place];
    if (has_routing_word(name) && understood.count(prefix + name) == 0 && !is_off(value))
      config.fail("field " + prefix + name + " is " + value.text() + ": it may change the routing, and family " +
                  family.name + " is not known to have it");
  }
}

void check_fields(const Family& family, const Config& config) {
  check_unknown_fields(family, config, config.text(), "");
  const Json* nested = family.nested != nullptr ? config.find({family.nested}) : nullptr;
  if (nested != nullptr && nested->object() != nullptr)
    check_unknown_fields(family, config, *nested->object(), std::string(family.nested) + ".");
  for (const KnownValues& known : family.known_values) {
    const Json* value = config.find({known.field});
    if (value == nullptr || value->is_null()) continue;
    if (std::find(known.values.begin(), known.values.end(), *value) != known.values.end()) continue;
    std::string list;
    for (const Json& each : known.values) list += (list.empty() ? "" : ", ") + each.text();
    if (list.empty()) config.fail(std::string(known.field) + " is " + value->text() + ", which is not supported");
    config.fail(std::string(known.field) + " is " + value->text() + ", known for family " + family.name + ": " + list);
  }
  read_quantisation(config);  // throws for what is not understood
}

Activation read_activation(const Family& family, const Config& config) {
  if (family.activation.empty()) return family.expert.act;
  const Json* value = config.find(family.activation);
  if (value == nullptr || value->is_null()) return family.expert.act;
  std::string known;
  for (const ActivationName& each : kActivations) {
    if (*value == std::string(each.name)) return each.act;
    known += (known.empty() ? "" : ", ") + std::string(each.name);
  }
  config.fail(field_text(family.activation) + " is " + value->text() + ", known are " + known);
}

void expect_at_most(const Config& config, const Field& field, std::int64_t value, const Field& limit_field,
                    std::int64_t limit) {
  if (value > limit)
    config.fail(field_text(field.names) + " is " + std::to_string(value) + ", more than " +
                field_text(limit_field.names) + " " + std::to_string(limit));
}

/// The value of a field that the family may have.
void read_number(const Config& config, const Field& field, double& value) {
  if (!field.names.empty()) value = config.number(field);
}

/// The value of a choice that config.json makes.
template <typename Value>
void read_choice(const Config& config, const Choice<Value>& choice, Value& result) {
  const Json* value = choice.field != nullptr ? config.find({choice.field}) : nullptr;
  if (value == nullptr || value->is_null()) return;
  std::string known;
  for (const auto& [name, meaning] : choice.values) {
    if (*value == name) {
      result = meaning;
      return;
    }
    known += (known.empty() ? "" : ", ") + std::string(name);
  }
  config.fail(std::string(choice.field) + " is " + value->text() + ", known are " + known);
}

/// The layer's limit; none leaves the activation without a clamp.
void read_limit(const Config& config, const char* list, ExpertConfig& expert) {
  expert.limit = config.layer_number(list);
  if (expert.limit == 0.0) expert.act = Activation::kSilu;
}

bool uses_groups(const Family& family, const Config& config) {
  const GroupSwitch& group_switch = family.group_switch;
  if (group_switch.field == nullptr) return true;
  const Json* value = config.find({group_switch.field});
  return value != nullptr && *value == group_switch.grouped;
}

void read_router(const Family& family, const Config& config, RouterConfig& router) {
  router.num_experts = config.integer(family.experts, 1);
  router.top_k = config.integer(family.top_k, 1);
  router.num_identity = config.integer(family.identity, 0);
  expect_at_most(config, family.top_k, router.top_k, family.experts, router.columns());
  router.renorm = config.boolean(family.renorm) ? family.renorm_rule : Renorm::kOff;
  if (!family.p.names.empty()) {
    const Json* p = config.find(family.p.names);
    if (p != nullptr && p->is_null())
      router.renorm = Renorm::kOff;
    else
      router.p = config.number(family.p);
  }
  read_choice(config, family.score_choice, router.score);
  read_number(config, family.softcap, router.softcap);
  read_number(config, family.logit_mult, router.logit_mult);
  read_number(config, family.in_eps, router.in_eps);
  read_number(config, family.eps, router.eps);
  read_number(config, family.sparsemixer_eps, router.sparsemixer_eps);
  router.scale = config.number(family.scale);
  if (!uses_groups(family, config)) return;
  router.n_group = config.integer(family.groups, 0);
  router.topk_group = config.integer(family.kept_groups, 0);
  if (router.n_group <= 1) {  // one group holds all experts: nothing to choose among
    router.n_group = router.topk_group = 1;
    return;
  }
  router.group_rule = family.group_rule;
  expect_at_most(config, family.groups, router.n_group, family.experts, router.num_experts);
  expect_at_most(config, family.kept_groups, router.topk_group, family.groups, router.n_group);
  if (router.num_experts % router.n_group != 0 || router.topk_group < 1)
    config.fail(field_text(family.groups.names) + " is " + std::to_string(router.n_group) + " with " +
                std::to_string(router.num_experts) + " experts and " + std::to_string(router.topk_group) +
                " groups kept, expected a divisor of the experts and at least one group");
  const std::int64_t reachable = router.topk_group * (router.num_experts / router.n_group);
  if (router.top_k > reachable)
    config.fail(field_text(family.top_k.names) + " is " + std::to_string(router.top_k) + ", more than the " +
                std::to_string(reachable) + " experts in the groups kept");
}

}  // namespace

BlockConfig read_block_config(const Family& family, Config& config, std::int64_t layer, std::size_t set) {
  config.select_layer(layer, count_layers(family, config));
  check_fields(family, config);
  const std::size_t sets = std::max<std::size_t>(family.sets.size(), 1);
  config.select_set(0, sets);
  const std::int64_t first_intermediate = config.integer(family.intermediate, 1);
  config.select_set(set, sets);
  BlockConfig block;
  block.router = family.router;
  read_router(family, config, block.router);
  if (family.in_mult_by_hidden)
    block.router.in_mult = 1.0 / std::sqrt(static_cast<double>(config.integer(family.hidden, 1)));
  if (is_hash_layer(family, config, layer)) block.router.source = RouterSource::kHashTable;
  block.expert = family.expert;
  block.expert.input = block.expert.output = config.integer(family.hidden, 1);
  block.expert.intermediate = config.integer(family.intermediate, 1);
  block.expert.act = read_activation(family, config);
  read_number(config, family.limit, block.expert.limit);
  read_number(config, family.alpha, block.expert.alpha);

  if (family.limit_list != nullptr) read_limit(config, family.limit_list, block.expert);

  const std::int64_t count = config.integer(family.shared_count, 0);
  if (family.joint_shared) {
    block.router.num_experts += count;
    block.router.top_k += count;
    return block;
  }
  std::int64_t shared =
      family.shared_intermediate.names.empty() ? first_intermediate : config.integer(family.shared_intermediate, 0);
  if (family.shared_intermediate.names.empty() || family.shared_sizes_multiply) shared *= count;
  if (shared > 0) {
    block.shared.count = 1;
    block.shared.gate = family.shared_gate;
    read_choice(config, family.shared_gate_choice, block.shared.gate);
    block.shared.expert = block.expert;
    block.shared.expert.intermediate = shared;
    block.shared.expert.act = family.shared_act.value_or(block.expert.act);
    if (family.shared_limit_list != nullptr) {
      block.shared.expert.act = family.expert.act;
      read_limit(config, family.shared_limit_list, block.shared.expert);
    }
    block.shared.expert.up_bias = block.shared.expert.down_bias = false;
  }
  return block;
}

}  // namespace moekit
