// SPDX-License-Identifier: Apache-2.0
// Reproducible layers: outputs and routing have the bits that reproducible_hashes.h holds, with the kernels of every
// instruction set of every processor. A case that is missing or wrong is shown as the line that belongs there.
#include <algorithm>
#include <cstring>

#include "backends/cpu/isa.h"
#include "conformance/harness.h"
#include "conformance/quantised.h"
#include "conformance/reproducible_hashes.h"
#include "core/xxh64.h"

namespace moekit::conformance {
namespace {

struct Case {
  std::string name, dtype;  // dtype: of LayerOptions
  BlockConfig config;
  BlockTensors tensors;
  DType data;
  bool int8_activations = false;
};

const Mode kModes[] = {modes()[0], modes()[1], modes()[2], modes()[3]};  // all that the CPU has: no float16
// Of 410 columns kernels take a panel in several slices, whatever the dtype.
constexpr Size kSizes[] = {{33, 17, 33}, {64, 96, 64},  {130, 70, 66}, {33, 17, 5},
                           {1, 1, 1},    {410, 30, 24}, {24, 410, 30}};

Rng portable_rng(std::uint64_t seed) {
  Rng rng(seed);
  rng.portable = true;
  return rng;
}

// Every rule in every mode; forms and sizes take turns, with periods that have no common divisor with the others'.
void add_plain(std::vector<Case>& cases) {
  for (const Rule& rule : rules())
    for (const Mode& mode : kModes) {
      const std::size_t i = cases.size();
      const Form& form = forms()[i % forms().size()];
      const Size& size = kSizes[i / 2 % std::size(kSizes)];
      const BlockConfig config = make_config(rule, form, i % 3 == 2 ? 64 : 8, size);
      Rng rng = portable_rng(i);
      cases.push_back({std::string(mode.name) + " " + rule.name + " " + form.name, "auto", config,
                       random_tensors(rng, config, mode.weights, rule.parts), mode.data});
    }
}

BlockConfig quantised_config(Activation act, const Size& size) {
  BlockConfig config;
  config.router.num_experts = 4;
  config.router.top_k = 2;
  config.router.renorm = Renorm::kAddEps;
  config.expert.act = act;
  config.expert.input = size.input;
  config.expert.intermediate = size.intermediate;
  config.expert.output = size.output;
  config.shared.count = 1;
  config.shared.gate = SharedGate::kSigmoid;
  config.shared.expert = config.expert;
  return config;
}

// Published formats; and plain weights that are quantised while the layer is packed.
void add_quantised(std::vector<Case>& cases) {
  for (const QuantVariant& variant : quant_variants()) {
    const BlockConfig config = quantised_config(Activation::kSilu, {160, 96, 64});
    for (const DType data : {DType::kFloat32, DType::kBFloat16}) {
      Rng rng = portable_rng(cases.size());
      cases.push_back({variant.name + (data == DType::kFloat32 ? " f32" : " bf16"), "auto", config,
                       random_quantised_tensors(rng, config, variant, true), data});
    }
  }
  for (const char* dtype : {"int8", "int4", "fp8", "mxfp4"})
    for (const bool rounded : {false, true}) {
      if (rounded && std::strcmp(dtype, "fp8") == 0) continue;
      const BlockConfig config = quantised_config(Activation::kGeluTanh, {192, 128, 64});
      Rng rng = portable_rng(cases.size());
      cases.push_back({std::string("quantised to ") + dtype + (rounded ? ", int8 activations" : ""), dtype, config,
                       random_tensors(rng, config, DType::kBFloat16), DType::kFloat32, rounded});
    }
}

const std::vector<Case>& cases() {
  static const std::vector<Case> list = [] {
    std::vector<Case> made;
    add_plain(made);
    add_quantised(made);
    return made;
  }();
  return list;
}

MoeLayer make(const Case& each, std::string_view isa, bool reproducible) {
  cpu::force_isa(isa);
  LayerOptions options;
  options.dtype = each.dtype;
  options.backend = "cpu";
  options.int8_activations = each.int8_activations;
  options.reproducible = reproducible;
  MoeLayer layer(each.config, each.tensors, options);
  cpu::force_isa("");
  return layer;
}

// Rows of ordinary numbers, and in a batch that has room some that are not.
Matrix make_rows(Rng& rng, std::int64_t tokens, const Case& each) {
  Matrix x = Matrix::random(rng, tokens, each.config.expert.input, each.data);
  if (tokens < 10) return x;
  x.set(3, 0, std::numeric_limits<float>::quiet_NaN());
  x.set(4, 0, std::numeric_limits<float>::infinity());
  x.set(5, 0, -std::numeric_limits<float>::infinity());
  for (std::int64_t c = 0; c < x.cols(); ++c) {
    x.set(6, c, x.at(6, c) * 0x1p-130f);  // subnormal
    x.set(7, c, x.at(7, c) * 0x1p100f);
    x.set(8, c, 0.0f);
    x.set(9, c, -0.0f);
  }
  return x;
}

std::string hash_of(const Case& each, const MoeLayer& layer) {
  Xxh64 hash;
  Rng rng = portable_rng(17);
  for (const std::int64_t tokens : {0, 1, 3, 33}) {
    const Matrix x = make_rows(rng, tokens, each);
    const Result result = run(layer, x, Inputs::random(rng, each.config.router, tokens));
    hash.update(result.y.bytes().data(), result.y.bytes().size());
    hash.update(result.ids.data(), result.ids.size() * sizeof(std::int32_t));
    hash.update(result.weights.data(), result.weights.size() * sizeof(float));
  }
  return hex64(hash.digest());
}

std::string expected(std::size_t i) { return i < std::size(kReproducibleHashes) ? kReproducibleHashes[i] : ""; }

TEST(Reproducible, EveryInstructionSetHasTheBits) {
  const auto host = cpu::host_isas();
  for (const std::string_view isa : cpu::known_isas())
    if (std::find(host.begin(), host.end(), isa) == host.end())
      std::fprintf(stderr, "not tested: %s\n", std::string(isa).c_str());
  EXPECT_EQ(std::size(kReproducibleHashes), cases().size());
  for (std::size_t i = 0; i < cases().size(); ++i) {
    const Case& each = cases()[i];
    for (std::size_t j = 0; j < host.size(); ++j) {
      set_num_threads(1 + static_cast<int>((i + j) % 3));
      const std::string seen = hash_of(each, make(each, host[j], true));
      EXPECT_EQ(seen, expected(i)) << host[j] << ": \"" << seen << "\",  // " << each.name;
    }
  }
  set_num_threads(0);
}

// The hashes see what the option is for: without it, kernels that are not of the common arithmetic have other bits, and
// the others (of which a part of the cases is seen) the same.
TEST(Reproducible, WithoutItSomeInstructionSetsDiffer) {
  std::size_t count = 0;
  const cpu::KernelTable* const* tables = cpu::kernel_tables(&count);
  for (const std::string_view isa : cpu::host_isas()) {
    const auto* table = *std::find_if(tables, tables + count, [&](const auto* t) { return t->name == isa; });
    const bool own = !table->reproducible || table->integer.fixed_point != nullptr;
    bool differs = false;
    for (std::size_t i = 0; i < cases().size() && !differs; i += own ? 1 : 9)
      differs = hash_of(cases()[i], make(cases()[i], isa, false)) != expected(i);
    EXPECT_EQ(differs, own) << isa;
    if (!own) std::fprintf(stderr, "%s: the same bits without the option\n", std::string(isa).c_str());
  }
}

TEST(Reproducible, OtherBackendsDecline) {
  const Case& each = cases()[0];
  LayerOptions options;
  options.reproducible = true;
  options.backend = "reference";
  EXPECT_THROW(MoeLayer(each.config, each.tensors, options), UnsupportedError);
  EXPECT_NE(make(each, "", true).explain().find("reproducible: the same bits"), std::string::npos);
  EXPECT_EQ(make(each, "", false).explain().find("reproducible"), std::string::npos);
}

}  // namespace
}  // namespace moekit::conformance
