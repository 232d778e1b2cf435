// SPDX-License-Identifier: Apache-2.0
#include "load_files.h"

#include <unistd.h>

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <stdexcept>

#include "common.h"

namespace moekit::bench {
namespace {

enum class Fill { kValues, kCodes, kScales };

struct Part {
  std::string suffix;
  const char* dtype;
  std::int64_t rows, cols, element_bytes;
  Fill fill;
  std::uint32_t scale = 0;  // the element's bits, for kScales
};

using Parts = std::vector<Part> (*)(std::int64_t n, std::int64_t k);

struct Scheme {
  const char* name;
  const char* quantisation;  // "quantization_config" of config.json, or ""
  Parts parts;               // of a matrix [n, k]
};

constexpr std::uint32_t kBf16 = 0x3c00, kFp16 = 0x2000, kE8m0 = 120, kE4m3 = 0x30, kFloat = 0x3c000000;
constexpr std::int64_t kGroup = 128;  // of GPTQ and AWQ

const Scheme kSchemes[] = {
    {"bf16", "",
     [](std::int64_t n, std::int64_t k) {
       return std::vector<Part>{{"weight", "BF16", n, k, 2, Fill::kValues}};
     }},
    {"fp8_blocks", R"({"quant_method": "fp8", "weight_block_size": [128, 128]})",
     [](std::int64_t n, std::int64_t k) {
       return std::vector<Part>{{"weight", "F8_E4M3", n, k, 1, Fill::kCodes},
                                {"weight_scale_inv", "F32", n / 128, k / 128, 4, Fill::kScales, kFloat}};
     }},
    {"int4_words", "",
     [](std::int64_t n, std::int64_t k) {
       return std::vector<Part>{{"weight_packed", "I32", n, k / 8, 4, Fill::kCodes},
                                {"weight_scale", "BF16", n, k / 32, 2, Fill::kScales, kBf16}};
     }},
    {"mxfp4_nibbles", "",
     [](std::int64_t n, std::int64_t k) {
       return std::vector<Part>{{"weight", "I8", n, k / 2, 1, Fill::kCodes},
                                {"scale", "F8_E8M0", n, k / 32, 1, Fill::kScales, kE8m0}};
     }},
    {"nvfp4_nibbles", "",
     [](std::int64_t n, std::int64_t k) {
       return std::vector<Part>{{"weight_packed", "U8", n, k / 2, 1, Fill::kCodes},
                                {"weight_scale", "F8_E4M3", n, k / 16, 1, Fill::kScales, kE4m3},
                                {"weight_global_scale", "F32", 1, 0, 4, Fill::kScales, kFloat}};
     }},
    {"gptq", R"({"quant_method": "gptq", "bits": 4, "group_size": 128, "desc_act": false, "sym": true})",
     [](std::int64_t n, std::int64_t k) {
       return std::vector<Part>{{"qweight", "I32", k / 8, n, 4, Fill::kCodes},
                                {"qzeros", "I32", k / kGroup, n / 8, 4, Fill::kScales, 0x77777777},
                                {"scales", "F16", k / kGroup, n, 2, Fill::kScales, kFp16}};
     }},
    {"awq", R"({"quant_method": "awq", "bits": 4, "group_size": 128, "zero_point": true, "version": "gemm"})",
     [](std::int64_t n, std::int64_t k) {
       return std::vector<Part>{{"qweight", "I32", k, n / 8, 4, Fill::kCodes},
                                {"qzeros", "I32", k / kGroup, n / 8, 4, Fill::kCodes},
                                {"scales", "F16", k / kGroup, n, 2, Fill::kScales, kFp16}};
     }},
};

const Scheme& scheme_of(const std::string& name) {
  for (const Scheme& scheme : kSchemes)
    if (name == scheme.name) return scheme;
  throw std::invalid_argument("[load benchmark] no scheme " + name);
}

std::int64_t bytes_of(const Part& part) {
  return part.rows * std::max<std::int64_t>(part.cols, 1) * part.element_bytes;
}

void write_part(const Part& part, std::ofstream& file) {
  std::vector<char> data(static_cast<std::size_t>(bytes_of(part)));
  static const AlignedBuffer values = random_values(std::size_t{64} << 20, 7);
  const auto* source = reinterpret_cast<const char*>(values.data());
  static std::size_t at = 0;  // another piece for each matrix
  if (at + data.size() > values.bytes()) at = 0;
  if (part.fill == Fill::kScales) {
    for (std::size_t i = 0; i < data.size(); ++i)
      data[i] = static_cast<char>(part.scale >> (8 * (i % static_cast<std::size_t>(part.element_bytes))));
  } else {
    std::copy_n(source + at, data.size(), data.begin());
    at += data.size();
    // Without bit 6 no byte is the NaN of e4m3.
    if (part.fill == Fill::kCodes)
      for (char& byte : data) byte = static_cast<char>(byte & 0xbf);
  }
  file.write(data.data(), static_cast<std::streamsize>(data.size()));
}

std::string config_json(const Scheme& scheme) {
  const auto number = [](const char* key, std::int64_t value) {
    return ", \"" + std::string(key) + "\": " + std::to_string(value);
  };
  std::string json =
      R"({"model_type": "qwen3_moe", "hidden_act": "silu", "norm_topk_prob": true, "mlp_only_layers": [])";
  json += number("hidden_size", kHidden) + number("moe_intermediate_size", kIntermediate) +
          number("num_experts", kFileExperts) + number("num_experts_per_tok", kTopK) + number("num_hidden_layers", 1) +
          number("decoder_sparse_step", 1);
  if (*scheme.quantisation != '\0') json += ", \"quantization_config\": " + std::string(scheme.quantisation);
  return json + "}";
}

}  // namespace

std::vector<std::string> load_schemes() {
  std::vector<std::string> names;
  for (const Scheme& scheme : kSchemes) names.emplace_back(scheme.name);
  return names;
}

LoadFiles::LoadFiles(const std::string& name) {
  const Scheme& scheme = scheme_of(name);
  folder_ = (std::filesystem::temp_directory_path() / "moekit-load-XXXXXX").string();
  if (::mkdtemp(folder_.data()) == nullptr) throw std::runtime_error("[load benchmark] no temporary folder");
  std::ofstream(folder_ + "/config.json") << config_json(scheme);
  std::vector<std::pair<std::string, Part>> tensors = {
      {"model.layers.0.mlp.gate.", {"weight", "BF16", kFileExperts, kHidden, 2, Fill::kValues}}};
  for (std::int64_t e = 0; e < kFileExperts; ++e)
    for (const char* projection : {"gate_proj.", "up_proj.", "down_proj."}) {
      const bool down = *projection == 'd';
      for (const Part& part : scheme.parts(down ? kHidden : kIntermediate, down ? kIntermediate : kHidden))
        tensors.push_back({"model.layers.0.mlp.experts." + std::to_string(e) + "." + projection, part});
    }
  std::string header = "{";
  std::int64_t at = 0;
  for (const auto& [prefix, part] : tensors) {
    const std::string shape =
        std::to_string(part.rows) + (part.cols == 0 ? std::string() : ", " + std::to_string(part.cols));
    header += std::string(at == 0 ? "" : ",") + "\"" + prefix + part.suffix + "\":{\"dtype\":\"" + part.dtype +
              "\",\"shape\":[" + shape + "],\"data_offsets\":[" + std::to_string(at) + "," +
              std::to_string(at + bytes_of(part)) + "]}";
    at += bytes_of(part);
  }
  header += "}";
  header.append(7 - (header.size() + 7) % 8, ' ');
  std::ofstream file(weights(), std::ios::binary);
  for (int byte = 0; byte < 8; ++byte) file.put(static_cast<char>(header.size() >> (8 * byte) & 0xff));
  file << header;
  for (const auto& [prefix, part] : tensors) write_part(part, file);
}

LoadFiles::~LoadFiles() {
  std::error_code ignored;
  std::filesystem::remove_all(folder_, ignored);
}

}  // namespace moekit::bench
