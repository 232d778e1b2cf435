// SPDX-License-Identifier: Apache-2.0
// Prints the support table of the README: the model families, and for each form of a block and each backend the weight
// formats that Backend::supports() accepts. scripts/readme_table.py puts it into the README; a test compares the two.
#include <iostream>
#include <string>
#include <vector>

#include "backend/backend.h"
#include "formats/format.h"
#include "moekit/model.h"

namespace {

using namespace moekit;

struct Row {
  std::string form, families;
  BlockConfig config;
};

BlockConfig plain_block() {
  BlockConfig config;
  config.router.num_experts = 16;
  config.router.top_k = 2;
  config.expert.input = config.expert.output = 64;
  config.expert.intermediate = 32;
  return config;
}

/// A row whose block differs from the plain one by what `change` does to it.
template <class Change>
Row row(std::string form, std::string families, Change change) {
  Row result{std::move(form), std::move(families), plain_block()};
  change(result.config);
  return result;
}

void use_groups(RouterConfig& router, GroupRule rule) {
  router.group_rule = rule;
  router.n_group = 4;
  router.topk_group = 2;
}

std::vector<Row> router_rows() {
  return {
      row("softmax, top-k", "qwen3_moe, mixtral, olmoe", [](BlockConfig&) {}),
      row("softmax over the top-k logits", "gpt_oss, granitemoe",
          [](BlockConfig& b) { b.router.score = Score::kSoftmaxTopk; }),
      row("sigmoid, groups by the sum of two", "deepseek_v3, glm4_moe, kimi_k2",
          [](BlockConfig& b) {
            b.router.score = Score::kSigmoid;
            use_groups(b.router, GroupRule::kTop2Sum);
          }),
      row("softmax, groups by the largest", "deepseek_v2",
          [](BlockConfig& b) { use_groups(b.router, GroupRule::kMax); }),
      row("one expert from each group", "Pangu Pro",
          [](BlockConfig& b) {
            use_groups(b.router, GroupRule::kArgmaxPerGroup);
            b.router.topk_group = b.router.top_k = b.router.n_group;
          }),
      row("selection on logits, sigmoid weights", "kolibri1",
          [](BlockConfig& b) {
            b.router.score = Score::kSigmoid;
            b.router.select_on = SelectOn::kLogit;
          }),
      row("sqrt(softplus)", "deepseek_v4", [](BlockConfig& b) { b.router.score = Score::kSqrtSoftplus; }),
      row("hash of the token id", "deepseek_v4", [](BlockConfig& b) { b.router.source = RouterSource::kHashTable; }),
      row("sparsemixer", "phimoe", [](BlockConfig& b) { b.router.score = Score::kSparsemixer; }),
      row("identity experts", "longcat_flash", [](BlockConfig& b) { b.router.num_identity = 8; }),
      row("weight on the expert's input", "llama4", [](BlockConfig& b) { b.router.apply_at = ApplyAt::kInput; }),
      row("ids and weights from the caller", "any", [](BlockConfig& b) { b.router.source = RouterSource::kExternal; }),
  };
}

std::vector<Row> expert_rows() {
  const std::pair<Activation, const char*> forms[] = {
      {Activation::kSilu, "most"},         {Activation::kGeluTanh, "gemma4"},
      {Activation::kGelu, "Grok"},         {Activation::kSiluClamp, "deepseek_v4"},
      {Activation::kSwigluOai, "gpt_oss"}, {Activation::kSwigluStep, "step3p7"},
      {Activation::kRelu, "switch"},       {Activation::kRelu2, "nemotron_h"},
      {Activation::kLinear, "moekit.MoE"}};
  std::vector<Row> rows;
  for (const auto& [act, families] : forms) {
    rows.push_back(row("experts: " + std::string(activation_name(act)), families, [act = act](BlockConfig& b) {
      b.expert.act = act;
      b.expert.limit = 7.0;
      if (act == Activation::kLinear) b.expert.intermediate = 0;
    }));
  }
  const std::pair<SharedGate, const char*> gates[] = {{SharedGate::kAdd, "shared expert: added"},
                                                      {SharedGate::kSigmoid, "shared expert: sigmoid gate"},
                                                      {SharedGate::kAverage, "shared expert: average"}};
  const char* const families[] = {"deepseek_v3, glm4_moe", "qwen2_moe, qwen3_next", "cohere2_moe"};
  for (const auto& [gate, form] : gates) {
    rows.push_back(row(form, families[static_cast<int>(gate)], [gate = gate](BlockConfig& b) {
      b.shared.count = 1;
      b.shared.gate = gate;
      b.shared.expert = b.expert;
    }));
  }
  return rows;
}

/// "all", "all but float16", "float32, bfloat16", or "no" when the backend takes the block in no format.
std::string accepted_formats(const Backend& backend, const BlockConfig& config) {
  std::size_t count = 0;
  const FormatEntry* formats = weight_formats(&count);
  std::string accepted, declined;
  for (std::size_t i = 0; i < count; ++i) {
    std::string& list = backend.supports(config, uniform_formats(formats[i].format)) ? accepted : declined;
    list += (list.empty() ? "" : ", ") + std::string(formats[i].format.name);
  }
  if (accepted.empty()) return "no";
  if (declined.empty()) return "all";
  return declined.find(',') == std::string::npos ? "all but " + declined : accepted;
}

}  // namespace

int main() {
  std::cout << "Families:";
  const char* separator = " ";
  for (const std::string_view family : model_families()) {
    std::cout << separator << family;
    separator = ", ";
  }
  std::size_t count = 0;
  const FormatEntry* formats = weight_formats(&count);
  std::cout << "\n\nWeight formats:";
  for (std::size_t i = 0; i < count; ++i) std::cout << (i == 0 ? " " : ", ") << formats[i].format.name;
  std::cout << "\n\n";
  const Backend* const* list = backends(&count);
  std::cout << "| Form | For example |";
  for (std::size_t i = 0; i < count; ++i) std::cout << " `" << list[i]->name() << "` |";
  std::cout << "\n|---|---|";
  for (std::size_t i = 0; i < count; ++i) std::cout << "---|";
  std::cout << "\n";
  std::vector<Row> rows = router_rows();
  for (Row& expert_row : expert_rows()) rows.push_back(std::move(expert_row));
  for (const Row& entry : rows) {
    validate(entry.config);
    std::cout << "| " << entry.form << " | " << entry.families << " |";
    for (std::size_t i = 0; i < count; ++i) std::cout << " " << accepted_formats(*list[i], entry.config) << " |";
    std::cout << "\n";
  }
}
