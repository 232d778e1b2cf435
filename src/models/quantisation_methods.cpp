// SPDX-License-Identifier: Apache-2.0
// The methods whose configuration is one flat object.
#include "models/quantisation_section.h"

namespace moekit {
namespace {

void add_group(std::int64_t group, Quantisation& out) {
  if (group > 0) out.groups.push_back(group);  // -1: a whole row, which the scales' shape shows
}

}  // namespace

// FineGrainedFP8Config of transformers; DeepSeek's, MiniMax's and Qwen's config.json.
void read_fp8(const QuantSection& section, Quantisation& out) {
  section.choice({"fmt"}, {"e4m3", "float8_e4m3fn"});
  section.choice({"scale_fmt"}, {"float", "ue8m0"});
  section.choice({"expert_dtype"}, {"fp8", "fp4"});
  section.choice({"activation_scheme"}, {"dynamic", "static"});
  if (const std::optional<ScaleBlock> block = section.block("weight_block_size")) out.blocks.push_back(*block);
  out.notes.emplace_back("fp8: activations, which the scheme rounds to fp8, are not rounded");
}

// AutoGPTQ and GPTQModel. The first version stores zero points minus one.
void read_gptq(const QuantSection& section, Quantisation& out) {
  section.known_integer({"bits"}, {4, 8});
  const std::string format = section.choice({"checkpoint_format", "format"}, {"gptq", "gptq_v2"});
  section.choice({"pack_dtype"}, {"int32"});
  const Json* marlin = section.find({"is_marlin_format"});
  if (marlin != nullptr && !(*marlin == false)) section.fail("is_marlin_format", *marlin, "false");
  add_group(section.integer({"group_size"}, -1, -1), out);
  out.sizes_vary = section.find({"dynamic"}) != nullptr;  // other sizes for some modules
  out.gptq_zero_add = format == "gptq_v2" ? 0 : 1;
  out.notes.emplace_back(format == "gptq_v2" ? "gptq, second version" : "gptq");
}

void read_awq(const QuantSection& section, Quantisation& out) {
  section.known_integer({"bits", "w_bit"}, {4});
  section.choice({"version", "format"}, {"gemm"});
  const Json* zero_point = section.find({"zero_point"});
  if (zero_point != nullptr && !(*zero_point == true)) section.fail("zero_point", *zero_point, "true");
  add_group(section.integer({"group_size", "q_group_size"}, -1, -1), out);
  out.notes.emplace_back("awq");
}

void read_mxfp4(const QuantSection&, Quantisation& out) {
  out.groups.push_back(32);
  out.notes.emplace_back("mxfp4");
}

// NVIDIA Model Optimizer: hf_quant_config.json, or quantization_config with the same fields.
void read_modelopt(const QuantSection& section, Quantisation& out) {
  const std::string algorithm = section.choice(
      {"quant_algo"}, {"fp8", "fp8_per_channel_per_token", "fp8_pb_wo", "nvfp4", "mxfp8", "mixed_precision"});
  section.choice({"kv_cache_quant_algo"}, {"fp8", "nvfp4", "none"});
  add_group(section.integer({"group_size"}, -1, -1), out);
  out.sizes_vary = true;
  std::string note = "modelopt " + algorithm;
  if (algorithm != "fp8_pb_wo") note += ": activations, which the scheme rounds too, are not rounded";
  out.notes.push_back(note);
}

}  // namespace moekit
