// SPDX-License-Identifier: Apache-2.0
// A model family as data: what its config.json says, what its tensors are called, what its router computes.
// A new family is one file with one function and one line in models.cpp.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "models/config.h"
#include "moekit/layer.h"

namespace moekit {

/// Names of the projections of an expert, as in experts.E.<name>.weight.
struct ProjectionNames {
  const char *gate, *up, *down;
};

/// Names of the stacked tensors; their biases have "_bias" appended. `interleaved`: as in Family, under these names.
struct StackedNames {
  const char *gate_up, *down;
  bool interleaved = false;
};

/// Names of tensors that stack each projection by itself, [E, I, H] twice and [E, H, I]; `flat`: all [E * I, H].
struct SeparateNames {
  const char *gate, *up, *down;
  bool flat = false;
};

/// One of the sets of experts that a block keeps apart, each with a router of its own; the caller knows which of them a
/// token goes to. Shared experts are the block's: they serve the tokens of every set, and have the size of the first.
struct ExpertSet {
  const char* name;  // and of the folder of its tensors, where sets have folders: "text_moe."
  // Where they have none, experts are numbered through all sets, and the routers' tensors are called:
  const char* router_weight;   // [H, E]
  const char* selection_bias;  // [sets, E], one for all of them
};

/// Where the tensors of one set lie among those of the others, in checkpoints without folders: see expert_sets.h.
struct SetPlace {
  std::int64_t first_expert = 0;   // its number in names of tensors
  std::int64_t row = 0, rows = 1;  // of the selection bias
  bool router_transposed = false;  // [H, E]
};

/// How the stacked layout is stored.
enum class Stacked : std::uint8_t {
  kRows,        // [E, 2I, H] and [E, H, I]
  kTransposed,  // [E, H, 2I] and [E, I, H]
  kByShape,     // whichever fits, kRows when both do
};

/// Which layers have experts: first <= layer <= last, (layer + phase - offset) % step == 0 and not in a list of dense
/// layers. A list or a pattern with an entry for each layer, or a list of layers with experts, decides alone when
/// present.
struct LayerRule {
  Field first{{}, 0.0};
  Field last{{}, -1.0};  // -1: the last layer
  Field step{{}, 1.0};
  Field offset{{}, 0.0};
  std::int64_t phase = 0;
  const char* dense_list = nullptr;   // a list of layer indices
  const char* sparse_list = nullptr;  // a list of layer indices, or a string of them with commas
  const char* type_list = nullptr;    // a list of kinds; 1 and 0 stand for with and without experts
  std::vector<const char*> sparse_types = {"sparse"}, dense_types = {"dense"};
  const char* pattern = nullptr;  // a string with a letter for each layer, E for one with experts
};

/// The rule without a field: experts in every layer.
LayerRule every_layer();

/// A field that names the selection method: the group rule holds for one of its values only.
struct GroupSwitch {
  const char* field = nullptr;
  const char* grouped = nullptr;
};

/// A field that would change the routing or the experts, and the values whose meaning is known here.
struct KnownValues {
  const char* field;
  std::vector<Json> values;
};

/// A field that names the score, or how the shared expert is added, and its known values.
template <typename Value>
struct Choice {
  const char* field = nullptr;
  std::vector<std::pair<const char*, Value>> values;
};

struct Family {
  const char* name = nullptr;        // model_type
  std::vector<const char*> aliases;  // further model_types with the same block: text models of multimodal ones

  // What the family fixes. Sizes, and what the fields below name, are filled in from config.json.
  RouterConfig router;
  ExpertConfig expert;
  std::optional<Activation> shared_act;  // of the shared expert, when it is not the routed ones'
  Renorm renorm_rule = Renorm::kAddEps;  // when `renorm` is true
  GroupRule group_rule = GroupRule::kNone;
  SharedGate shared_gate = SharedGate::kAdd;
  Choice<Score> score_choice;
  Choice<SharedGate> shared_gate_choice;
  bool in_mult_by_hidden = false;  // in_mult is hidden^-1/2

  // config.json
  Field hidden{{"hidden_size"}, {}};
  Field layers{{"num_hidden_layers"}, {}};
  Field experts{{"num_experts", "num_local_experts", "n_routed_experts", "moe_num_experts"}, {}};
  Field top_k{{"num_experts_per_tok"}, {}};
  Field intermediate{{"moe_intermediate_size"}, {}};
  Field renorm{{}, 0.0};
  Field scale{{}, 1.0};
  Field groups{{}, 1.0};
  Field kept_groups{{}, 1.0};
  GroupSwitch group_switch;
  Field identity{{}, 0.0};  // columns of the router beyond the experts, whose expert returns its input
  Field p{{}, {}};          // of Renorm::kPnorm; null: no renormalisation
  Field softcap{{}, {}};
  Field logit_mult{{}, {}};
  Field in_eps{{}, {}};
  Field has_selection_bias{{}, 1.0};
  Field hash_layers{{}, 0.0};       // the first layers, whose experts a table of token ids chooses ...
  const char* hash_type = nullptr;  // ... or those of this kind in the list of kinds
  Field vocabulary{{"vocab_size"}, {}};
  Field eps{{}, {}};              // of the renormalisation, when config.json has it
  Field sparsemixer_eps{{}, {}};  // the three below likewise
  Field limit{{}, {}};
  Field alpha{{}, {}};
  const char* limit_list = nullptr;         // a limit for each layer, 0 for none
  const char* shared_limit_list = nullptr;  // the same for the shared expert
  Field shared_count{{}, 0.0};              // shared experts, each of the size of a routed one ...
  Field shared_intermediate{{}, 0.0};       // ... or the size of the one shared expert ...
  bool shared_sizes_multiply = false;       // ... or both: count shared experts of that size
  // The shared experts, as many as shared_count says and each of the size of a routed one, are columns of the router
  // behind the routed ones: always chosen, and part of the renormalisation. To the block they are routed experts.
  bool joint_shared = false;
  std::vector<ExpertSet> sets;                           // none: the block has one, without a name
  std::vector<const char*> activation = {"hidden_act"};  // none: the family's own
  LayerRule layer_rule;
  std::vector<KnownValues> known_values;
  std::vector<const char*> irrelevant;  // fields with a routing word in their name that inference does not need
  const char* nested = nullptr;         // an object of config.json that describes the block

  // Tensors. Every vector lists the names seen in checkpoints, the published one first.
  std::vector<std::string> layer_prefixes = {"model.layers.", "model.language_model.layers.",
                                             "language_model.model.layers.", "layers."};
  // "" when the block's tensors lie beside others of the layer: `parts` then tells them apart.
  std::vector<std::string> block_prefixes = {"mlp."};
  std::vector<std::string> parts;
  std::vector<std::string> router_weight = {"gate.weight"};
  std::vector<std::string> router_bias;
  std::vector<std::string> selection_bias;
  std::vector<std::string> in_scale;
  const char* in_scale_divisor = nullptr;  // in_scale is divided by it, element by element
  std::vector<std::string> per_expert_scale;
  std::vector<std::string> weight_scale;  // [1], multiplies all weights
  std::vector<std::string> hash_table = {"gate.tid2eid"};
  SetPlace place;
  std::vector<std::string> experts_prefixes = {"experts."};  // none: experts are always stacked
  std::vector<ProjectionNames> projections = {{"gate_proj", "up_proj", "down_proj"}};
  std::vector<StackedNames> stacked_names = {{"experts.gate_up_proj", "experts.down_proj"}};
  std::vector<SeparateNames> separate_names;
  Stacked stacked = Stacked::kRows;
  bool interleaved = false;  // gate and up rows alternate in gate_up_proj instead of gate first
  std::vector<std::string> shared_prefixes = {"shared_experts.", "shared_expert."};
  std::vector<StackedNames> shared_stacked_names;   // [2I, H] and [H, I] below a shared prefix
  std::vector<StackedNames> joint_stacked_names;    // [S, 2I, H] and [S, H, I], for joint_shared
  std::vector<SeparateNames> joint_separate_names;  // the same, gate and up by themselves
  std::string down_bias_for_all;                    // one bias of down for every expert
  std::vector<std::string> shared_gate_weight = {"shared_expert_gate.weight"};
};

/// Families that others start from: softmax with weights cast back, also with a selection bias, and sigmoid with a
/// selection bias and groups.
Family ernie4_5_moe();
Family qwen3_moe();
Family deepseek_v3();

/// All families, in the order of models.cpp.
const std::vector<Family>& families();
/// The family of a config.json; makes config.text() the object that describes the text model. Throws CheckpointError
/// listing the names that are known.
const Family& find_family(Config& config);

/// The block's configuration as config.json gives it. Throws CheckpointError for a missing field, one that changes the
/// routing and is not understood, or a value outside its limits.
/// `set`: index in Family::sets.
BlockConfig read_block_config(const Family& family, Config& config, std::int64_t layer, std::size_t set = 0);
/// Number of decoder layers, and those with experts.
std::int64_t count_layers(const Family& family, const Config& config);
std::vector<std::int64_t> moe_layers(const Family& family, const Config& config);
/// Whether a table of token ids chooses the experts of a layer.
bool is_hash_layer(const Family& family, const Config& config, std::int64_t layer);

}  // namespace moekit
