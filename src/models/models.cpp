// SPDX-License-Identifier: Apache-2.0
// The list of families: one line each.
#include <algorithm>
#include <string>

#include "checkpoint/text.h"
#include "models/family.h"
#include "moekit/model.h"

namespace moekit {

Family afmoe();
Family aria();
Family axk1();
Family axk2();
Family bailing_hybrid();
Family beam();
Family cohere2_moe();
Family dbrx();
Family deepseek_ocr2();
Family deepseek_v2();
Family deepseek_v32();
Family deepseek_v4();
Family dots1();
Family dots3_note();
Family ernie4_5_vl_moe();
Family exaone_moe();
Family flex_olmo();
Family flint();
Family gemma4();
Family glm4_moe();
Family glm4_moe_lite();
Family glm4v_moe();
Family glm5_next();
Family glm_moe_dsa();
Family gpt_oss();
Family granitemoe();
Family granitemoe_swa();
Family granitemoehybrid();
Family granitemoeshared();
Family hunyuan_v1_moe();
Family hy_v3();
Family hy_v4();
Family inkling();
Family jamba();
Family jetmoe();
Family kimi_k2();
Family kimi_linear();
Family kolibri1();
Family laguna();
Family lfm2_moe();
Family llama4();
Family longcat_flash();
Family mellum();
Family mimo_v2_flash();
Family minimax();
Family minimax_m2();
Family minimax_m3();
Family mistral4();
Family mistral_large4();
Family mixtral();
Family nemotron_h();
Family olmoe();
Family openai_privacy_filter();
Family phimoe();
Family qwen2_moe();
Family qwen3_5_moe();
Family qwen3_next();
Family qwen3_omni_moe();
Family qwen3_vl_moe();
Family qwen4_exp();
Family solar_open();
Family step3p7();
Family unlimited_ocr();

const std::vector<Family>& families() {
  static const std::vector<Family> all = {
      afmoe(),
      aria(),
      axk1(),
      axk2(),
      bailing_hybrid(),
      beam(),
      cohere2_moe(),
      dbrx(),
      deepseek_ocr2(),
      deepseek_v2(),
      deepseek_v3(),
      deepseek_v32(),
      deepseek_v4(),
      dots1(),
      dots3_note(),
      ernie4_5_moe(),
      ernie4_5_vl_moe(),
      exaone_moe(),
      flex_olmo(),
      flint(),
      gemma4(),
      glm4_moe(),
      glm4_moe_lite(),
      glm4v_moe(),
      glm5_next(),
      glm_moe_dsa(),
      gpt_oss(),
      granitemoe(),
      granitemoe_swa(),
      granitemoehybrid(),
      granitemoeshared(),
      hunyuan_v1_moe(),
      hy_v3(),
      hy_v4(),
      inkling(),
      jamba(),
      jetmoe(),
      kimi_k2(),
      kimi_linear(),
      kolibri1(),
      laguna(),
      lfm2_moe(),
      llama4(),
      longcat_flash(),
      mellum(),
      mimo_v2_flash(),
      minimax(),
      minimax_m2(),
      minimax_m3(),
      mistral4(),
      mistral_large4(),
      mixtral(),
      nemotron_h(),
      olmoe(),
      openai_privacy_filter(),
      phimoe(),
      qwen2_moe(),
      qwen3_5_moe(),
      qwen3_moe(),
      qwen3_next(),
      qwen3_omni_moe(),
      qwen3_vl_moe(),
      qwen4_exp(),
      solar_open(),
      step3p7(),
      unlimited_ocr(),
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
  // The thinker of an omni model has a text model of its own.
  for (const std::vector<const char*>& level :
       {std::vector<const char*>{"thinker_config"}, {"text_config", "llm_config", "language_config"}})
    for (const char* nested : level) {
      const Json* text = config.text().find(nested);
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
