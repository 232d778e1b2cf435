// SPDX-License-Identifier: Apache-2.0
// The list of architectures, one line each. What each writes: gguf-py's constants and llama.cpp's converters.
#include <algorithm>
#include <string_view>

#include "models/gguf.h"

namespace moekit {
namespace {

using Shared = GgufArchitecture::Shared;

// name, family, expert_weights_norm when absent, size may be feed_forward_length, shared expert, optional bias
constexpr GgufArchitecture kArchitectures[] = {
    {"afmoe", "afmoe", 0.0, false, Shared::kCount},
    {"bailingmoe2", "bailing_hybrid", 0.0, false, Shared::kCount, true},
    {"deepseek2", "deepseek_v2", 0.0, false, Shared::kCount},
    {"deepseek2", "deepseek_v3", 0.0, false, Shared::kCount},  // V3, R1, Kimi K2, GLM-4.7-Flash
    {"dots1", "dots1", 0.0, false, Shared::kCount},
    {"ernie4_5-moe", "ernie4_5_moe", 0.0, false, Shared::kCount},
    {"exaone-moe", "exaone_moe", 0.0, false, Shared::kCount},
    {"glm-dsa", "glm_moe_dsa", 0.0, false, Shared::kCount},
    {"glm4moe", "glm4_moe", 0.0, false, Shared::kCount},
    {"gpt-oss", "gpt_oss"},
    {"granitehybrid", "granitemoehybrid", 0.0, true, Shared::kLength},
    {"granitemoe", "granitemoe", 0.0, true, Shared::kLength},
    {"hunyuan-moe", "hunyuan_v1_moe", 0.0, true, Shared::kLength},
    {"jamba", "jamba", 0.0, true},
    {"kimi-linear", "kimi_linear", 1.0, false, Shared::kCount},
    {"lfm2moe", "lfm2_moe", 1.0, false, Shared::kFamily, true},
    {"llama", "mixtral", 0.0, true},
    {"llama4", "llama4"},
    {"mimo2", "mimo_v2_flash", 1.0},
    {"minimax-m2", "minimax_m2", 0.0, true},
    {"olmoe", "olmoe", 0.0, true},
    {"phimoe", "phimoe", 0.0, true},
    {"qwen2moe", "qwen2_moe", 0.0, false, Shared::kLength},
    {"qwen35moe", "qwen3_5_moe", 1.0, false, Shared::kLength},
    {"qwen3moe", "qwen3_moe", 1.0},
    {"qwen3next", "qwen3_next", 1.0, false, Shared::kLength},
    {"qwen3vlmoe", "qwen3_vl_moe", 1.0},
};

bool is_sigmoid(const GgufArchitecture& architecture) {
  return std::any_of(families().begin(), families().end(), [&](const Family& family) {
    return std::string_view(family.name) == architecture.family && family.router.score == Score::kSigmoid;
  });
}

}  // namespace

const GgufArchitecture* find_gguf_architecture(const std::string& name, bool sigmoid) {
  const GgufArchitecture* found = nullptr;
  for (const GgufArchitecture& each : kArchitectures) {
    if (name != each.name) continue;
    if (found == nullptr || is_sigmoid(each) == sigmoid) found = &each;
  }
  return found;
}

std::string gguf_architectures() {
  std::string names;
  std::string_view last;
  for (const GgufArchitecture& each : kArchitectures) {
    if (each.name != last) names += (names.empty() ? "" : ", ") + std::string(each.name);
    last = each.name;
  }
  return names;
}

}  // namespace moekit
