// SPDX-License-Identifier: Apache-2.0
#include "models/gguf.h"

#include <algorithm>
#include <iterator>
#include <set>
#include <string_view>
#include <utility>

#include "checkpoint/gguf_file.h"
#include "checkpoint/text.h"

namespace moekit {
namespace {

// Tensors of a block below "blk.N.". All of them are accounted for, also those that no family here has.
const std::vector<std::string> kRouted = {"ffn_gate_inp.", "ffn_gate_exps", "ffn_up_exps", "ffn_down_exps",
                                          "ffn_gate_up_exps"};
const std::vector<std::string> kParts = {"ffn_gate_inp",     "ffn_gate_exps",   "ffn_up_exps",   "ffn_down_exps",
                                         "ffn_gate_up_exps", "ffn_gate_shexp",  "ffn_up_shexp",  "ffn_down_shexp",
                                         "exp_probs_b",      "ffn_gate_chexps", "ffn_up_chexps", "ffn_down_chexps",
                                         "ffn_norm_exps",    "ffn_latent"};
constexpr const char* kMoeLayers = "moe_layers";  // made from the tensors
constexpr const char* kGating = "expert_gating_func";

bool starts_with(std::string_view text, std::string_view prefix) { return text.substr(0, prefix.size()) == prefix; }

/// N and the rest of "blk.N.rest"; -1 for other names.
std::pair<std::int64_t, std::string_view> split_name(std::string_view name) {
  if (!starts_with(name, "blk.")) return {-1, {}};
  name.remove_prefix(4);
  const std::size_t dot = name.find_first_not_of("0123456789");
  if (dot == 0 || dot > 6 || dot == std::string_view::npos || name[dot] != '.') return {-1, {}};
  return {std::stoll(std::string(name.substr(0, dot))), name.substr(dot + 1)};
}

/// What the tensors' names say.
struct Seen {
  std::set<std::int64_t> layers;  // with experts or a router
  bool selection_bias = false, stacked = false;
};

Seen look_at(const std::vector<TensorRef>& tensors) {
  Seen seen;
  for (const TensorRef& tensor : tensors) {
    const auto [layer, rest] = split_name(tensor.name);
    if (layer < 0) continue;
    const std::string_view name = rest;
    if (std::any_of(kRouted.begin(), kRouted.end(), [&](const std::string& part) { return starts_with(name, part); }))
      seen.layers.insert(layer);
    seen.selection_bias = seen.selection_bias || starts_with(name, "exp_probs_b");
    seen.stacked = seen.stacked || starts_with(name, "ffn_gate_up_exps");
  }
  return seen;
}

void set(Json::Object& object, const std::string& name, Json value) {
  const auto [at, fresh] = object.index.emplace(name, object.values.size());
  if (fresh)
    object.values.push_back(std::move(value));
  else
    object.values[at->second] = std::move(value);
}

/// A non-negative integer of the pairs, `absent` when there is none.
std::int64_t count_of(const Json::Object& pairs, const char* key, std::int64_t absent, const std::string& path) {
  const Json* value = pairs.find(key);
  if (value == nullptr) return absent;
  if (value->integer() == nullptr || *value->integer() < 0 || *value->integer() > kMaxConfigSize)
    checkpoint_error("config", path,
                     std::string(key) + " is " + value->text() + ", expected an integer from 0 to " +
                         std::to_string(kMaxConfigSize));
  return *value->integer();
}

/// The architecture's pairs without its prefix. Values that stand for "not set" are left out.
Json pairs_of(const GgufMetadata& metadata, const std::string& architecture) {
  Json pairs = Json::container(Json::Kind::kObject);
  const std::string prefix = architecture + ".";
  for (auto it = metadata.lower_bound(prefix); it != metadata.end() && starts_with(it->first, prefix); ++it) {
    const std::string key = it->first.substr(prefix.size());
    if ((key == kGating || key == "expert_weights_scale") && it->second.number() == 0.0) continue;
    set(pairs.items(), key, it->second);
  }
  return pairs;
}

/// Layers as the tensors have them, which must be those that the pairs say, where they say it.
void add_layers(Json::Object& pairs, const Seen& seen, const std::string& path) {
  // The last blocks may be of heads that predict further tokens; they are no layers of the model.
  const std::int64_t blocks = count_of(pairs, "block_count", 0, path);
  const std::int64_t ahead = count_of(pairs, "nextn_predict_layers", 0, path);
  if (ahead > blocks)
    checkpoint_error(
        "config", path,
        "nextn_predict_layers is " + std::to_string(ahead) + ", more than block_count " + std::to_string(blocks));
  const std::int64_t layers = blocks - ahead;
  if (blocks > 0) set(pairs, "block_count", layers);
  Json list = Json::container(Json::Kind::kArray);
  for (const std::int64_t layer : seen.layers)
    if (layer < layers) list.items().values.emplace_back(layer);
  set(pairs, kMoeLayers, std::move(list));
  if (pairs.find("leading_dense_block_count") == nullptr || seen.layers.empty()) return;
  const std::int64_t first = count_of(pairs, "leading_dense_block_count", 0, path);
  const std::int64_t step = std::max<std::int64_t>(count_of(pairs, "interleave_moe_layer_step", 1, path), 1);
  constexpr std::int64_t kCompared = 100'000;  // that many are refused when they are counted
  for (std::int64_t layer = 0; layer < std::min(layers, kCompared); ++layer) {
    const bool expected = layer >= first && (layer + 1) % step == 0, found = seen.layers.count(layer) != 0;
    if (expected != found)
      checkpoint_error("config", path,
                       "leading_dense_block_count is " + std::to_string(first) +
                           (step > 1 ? " and interleave_moe_layer_step " + std::to_string(step) : "") + ", but layer " +
                           std::to_string(layer) + (found ? " has" : " lacks") + " tensors of experts");
  }
}

bool is_sigmoid(const Json::Object& pairs, const Seen& seen) {
  const Json* gating = pairs.find(kGating);
  // Files of before the pair: only models with sigmoid scores have a bias for the selection.
  return gating != nullptr ? *gating == 2 : seen.selection_bias;
}

/// Values of expert_gating_func that mean a score: llama.cpp's 1 softmax, 2 sigmoid, 3 softmax over the chosen.
std::vector<Json> gating_values(Score score) {
  if (score == Score::kSigmoid) return {2};
  // Normalised softmax weights are those of a softmax over the chosen.
  if (score == Score::kSoftmaxTopk) return {1, 3};
  return {1};
}

void rename_fields(const GgufArchitecture& architecture, const Json::Object& pairs, const Seen& seen, Family& family) {
  family.known_values = {{kGating, gating_values(family.router.score)},
                         {"swiglu_clamp_exp", {}},
                         {"swiglu_clamp_shexp", {}},
                         {"hidden_act", {"silu"}}};
  // Sizes that the shapes of the tensors repeat, and layers that their names do.
  family.irrelevant = {"expert_shared_count", "expert_shared_feed_forward_length", "expert_feed_forward_length",
                       "interleave_moe_layer_step", "moe_every_n_layers"};
  family.hidden = {{"embedding_length"}, {}};
  family.layers = {{"block_count"}, {}};
  family.experts = {{"expert_count"}, {}};
  family.top_k = {{"expert_used_count"}, {}};
  const bool own_length = !architecture.dense_length || pairs.find("expert_feed_forward_length") != nullptr;
  family.intermediate = {{own_length ? "expert_feed_forward_length" : "feed_forward_length"}, {}, {}, true};
  if (!family.renorm.names.empty())
    family.renorm = {{"expert_weights_norm"}, architecture.renorm};
  else if (family.router.score == Score::kSoftmaxTopk)
    family.known_values.push_back({"expert_weights_norm", {false, true}});
  else
    family.known_values.push_back({"expert_weights_norm", {family.renorm.absent.value_or(0.0) != 0.0}});
  family.scale = {{"expert_weights_scale"}, 1.0};
  if (family.group_rule == GroupRule::kNone) {
    for (const char* key : {"expert_group_count", "expert_group_used_count"})
      family.known_values.push_back({key, {0, 1}});
    family.groups = family.kept_groups = {{}, 1.0};
  } else {
    family.groups = {{"expert_group_count"}, 1.0};
    family.kept_groups = {{"expert_group_used_count"}, 1.0};
  }
  family.group_switch = {};
  family.score_choice = {};
  family.shared_gate_choice = {};
  using Shared = GgufArchitecture::Shared;
  if (architecture.shared == Shared::kCount) {
    family.shared_count = {{"expert_shared_count"}, 0.0};
    family.shared_intermediate = {{}, 0.0};
    family.shared_sizes_multiply = false;
  } else if (architecture.shared == Shared::kLength) {
    family.shared_intermediate = {{"expert_shared_feed_forward_length"}, 0.0};
    family.shared_sizes_multiply = false;
  }
  family.has_selection_bias = {{}, architecture.optional_bias && !seen.selection_bias ? 0.0 : 1.0};
  family.activation = {};
  family.layer_rule = every_layer();
  family.layer_rule.sparse_list = kMoeLayers;
  family.nested = nullptr;
}

void rename_tensors(const Seen& seen, Family& family) {
  family.layer_prefixes = {"blk."};
  family.block_prefixes = {""};
  family.parts = kParts;
  family.router_weight = {"ffn_gate_inp.weight"};
  if (!family.router_bias.empty()) family.router_bias = {"ffn_gate_inp.bias"};
  if (!family.selection_bias.empty()) family.selection_bias = {"exp_probs_b.bias", "exp_probs_b.weight", "exp_probs_b"};
  // The converters undo every other order: rows of gate and up apart, or gate first.
  family.stacked = Stacked::kRows;
  family.interleaved = false;
  family.stacked_names = {};
  family.separate_names = {};
  family.experts_prefixes = {};
  if (seen.stacked)
    family.stacked_names = {{"ffn_gate_up_exps.weight", "ffn_down_exps.weight"}};
  else
    family.separate_names = {{"ffn_gate_exps.weight", "ffn_up_exps.weight", "ffn_down_exps.weight"}};
  family.projections = {{"gate_shexp", "up_shexp", "down_shexp"}};
  family.shared_prefixes = {"ffn_"};
  family.shared_stacked_names = {};
  family.shared_gate_weight = {"ffn_gate_inp_shexp.weight"};
}

}  // namespace

GgufFamily read_gguf_family(const std::string& path) {
  const GgufModel model = open_gguf(path);
  const auto name = model.metadata.find("general.architecture");
  const std::string* architecture_name = name != model.metadata.end() ? name->second.string() : nullptr;
  if (architecture_name == nullptr)
    checkpoint_error("config", path,
                     std::string("general.architecture is ") +
                         (name == model.metadata.end() ? "missing" : name->second.text()) +
                         ", expected the name of an architecture");
  const Seen seen = look_at(model.tensors);
  Json pairs = pairs_of(model.metadata, *architecture_name);
  const GgufArchitecture* architecture = find_gguf_architecture(*architecture_name, is_sigmoid(pairs.items(), seen));
  if (architecture == nullptr)
    checkpoint_error(
        "config", path,
        "general.architecture is " + in_quotes(*architecture_name) + ", known are " + gguf_architectures());
  add_layers(pairs.items(), seen, path);
  const auto base = std::find_if(families().begin(), families().end(), [&](const Family& family) {
    return std::string_view(family.name) == architecture->family;
  });
  GgufFamily result = {Config::of(path, std::move(pairs)), *base};
  rename_fields(*architecture, result.config.root(), seen, result.family);
  rename_tensors(seen, result.family);
  return result;
}

}  // namespace moekit
