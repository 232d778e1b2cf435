// SPDX-License-Identifier: Apache-2.0
// The list of families: one line each.
#include <algorithm>
#include <string>

#include "checkpoint/text.h"
#include "models/family.h"
#include "moekit/model.h"

namespace moekit {

Family afmoe();
Family deepseek_v2();
Family deepseek_v32();
Family dots1();
Family ernie4_5_moe();
Family exaone_moe();
Family flex_olmo();
Family glm4_moe();
Family glm_moe_dsa();
Family gpt_oss();
Family granitemoe();
Family hy_v3();
Family jamba();
Family mellum();
Family minimax();
Family minimax_m2();
Family mixtral();
Family olmoe();
Family phimoe();
Family qwen2_moe();
Family qwen3_5_moe();
Family qwen3_next();
Family solar_open();

const std::vector<Family>& families() {
  static const std::vector<Family> all = {
      afmoe(),       deepseek_v2(), deepseek_v3(), deepseek_v32(), dots1(),      ernie4_5_moe(), exaone_moe(),
      flex_olmo(),   glm4_moe(),    glm_moe_dsa(), gpt_oss(),      granitemoe(), hy_v3(),        jamba(),
      mellum(),      minimax(),     minimax_m2(),  mixtral(),      olmoe(),      phimoe(),       qwen2_moe(),
      qwen3_5_moe(), qwen3_moe(),   qwen3_next(),  solar_open(),
  };
  return all;
}

std::vector<std::string_view> model_families() {
  std::vector<std::string_view> names;
  for (const Family& family : families()) names.emplace_back(family.name);
  std::sort(names.begin(), names.end());
  return names;
}

namespace {

const Family* family_of(const Json::Object& config) {
  const Json* type = config.find("model_type");
  if (type == nullptr || type->string() == nullptr) return nullptr;
  const std::string& name = *type->string();
  for (const Family& family : families()) {
    if (name == family.name) return &family;
    for (const char* alias : family.aliases)
      if (name == alias) return &family;
  }
  return nullptr;
}

}  // namespace

const Family& find_family(Config& config) {
  const Family* family = family_of(config.root());
  for (const char* nested : {"text_config", "llm_config", "language_config"}) {
    const Json* text = config.root().find(nested);
    if (text == nullptr || text->object() == nullptr) continue;
    config.descend(nested);
    if (family == nullptr) family = family_of(*text->object());
    break;
  }
  if (family != nullptr) return *family;
  std::string known;
  for (const std::string_view name : model_families()) known += (known.empty() ? "" : ", ") + std::string(name);
  const Json* type = config.root().find("model_type");
  config.fail((type == nullptr ? "no model_type" : "model_type is " + type->text()) + ", known are " + known);
}

}  // namespace moekit
