// SPDX-License-Identifier: Apache-2.0
// A layer that went through a file gives the bits of one that did not: every format, form, router and instruction set.
#include <tuple>

#include "backends/cpu/isa.h"
#include "conformance/harness.h"
#include "convert/packed_file.h"

namespace moekit::conformance {
namespace {

using test::TempFolder;
using test::write_layer;

void expect_same_bits(const MoeLayer& got, const MoeLayer& want, const BlockConfig& config, Rng& rng) {
  for (const DType dtype : {DType::kFloat32, DType::kBFloat16}) {
    const Matrix x = Matrix::random(rng, 7, config.expert.input, dtype);
    const Inputs inputs = Inputs::random(rng, config.router, 7);
    const Result a = run(got, x, inputs), b = run(want, x, inputs);
    ASSERT_EQ(a.y.bytes(), b.y.bytes());
    ASSERT_EQ(a.ids, b.ids);
    ASSERT_EQ(a.weights, b.weights);
  }
}

// Written once, by whatever kernels; loaded for every instruction set (reduced: the first and the last), mapped and
// read (reduced: mapped, the last read).
void expect_round_trip(const BlockConfig& config, const BlockTensors& tensors, Rng& rng,
                       const std::string& dtype = "auto") {
  const TempFolder folder;
  const std::string path = write_layer(folder, config, tensors, dtype);
  const auto host = cpu::host_isas();
  for (const std::string_view isa : host) {
    const bool last = isa == host.back();
    if (reduced() && isa != host.front() && !last) continue;
    SCOPED_TRACE(isa);
    cpu::force_isa(isa);
    LayerOptions options;
    options.dtype = dtype;
    const MoeLayer plain(config, tensors, options);
    for (const bool map : {true, false}) {
      if (reduced() && map == last && host.size() > 1) continue;
      options.map_files = map;
      const MoeLayer loaded = MoeLayer::from_file(path, options);
      EXPECT_EQ(loaded.format(), plain.format());
      EXPECT_EQ(loaded.packed_bytes(), plain.packed_bytes());
      const MemoryNeeds file = loaded.memory_needs(), memory = plain.memory_needs();
      EXPECT_EQ(file.experts, config.router.num_experts);
      EXPECT_EQ(std::tie(file.experts, file.expert, file.always, file.all),
                std::tie(memory.experts, memory.expert, memory.always, memory.all));
      EXPECT_NE(loaded.explain().find(map ? "mapped" : "read into memory"), std::string::npos);
      expect_same_bits(loaded, plain, config, rng);
    }
    cpu::force_isa("");
  }
}

BlockConfig gated_config(std::int64_t hidden, std::int64_t inner, bool shared) {
  BlockConfig config;
  config.router.num_experts = 3;
  config.router.top_k = 2;
  config.expert.input = config.expert.output = hidden;
  config.expert.intermediate = inner;
  if (shared) {
    config.shared.count = 1;
    config.shared.expert = config.expert;
  }
  return config;
}

TEST(PackedFile, EveryWeightFormat) {
  std::uint64_t seed = 1;
  for (const QuantVariant& variant : quant_variants())
    for (const bool shared : {true, false}) {
      SCOPED_TRACE(variant.name);
      Rng rng(seed++);
      const BlockConfig config = gated_config(shared ? 200 : 1160, shared ? 72 : 136, shared);
      expect_round_trip(config, random_quantised_tensors(rng, config, variant, shared), rng);
    }
}

TEST(PackedFile, EveryForm) {
  Rng rng(2);
  for (const Form& form : forms())
    for (const DType dtype : {DType::kFloat32, DType::kBFloat16}) {
      SCOPED_TRACE(form.name);
      const BlockConfig config = make_config(rules()[0], form, 5, sizes()[0]);
      expect_round_trip(config, random_tensors(rng, config, dtype), rng);
    }
}

TEST(PackedFile, EveryRouter) {
  Rng rng(3);
  for (const Rule& rule : rules())
    for (const DType dtype : {DType::kFloat32, DType::kBFloat16}) {
      SCOPED_TRACE(rule.name);
      const BlockConfig config = make_config(rule, forms()[2], std::max<std::int64_t>(8, rule.min_experts), sizes()[0]);
      expect_round_trip(config, random_tensors(rng, config, dtype, rule.parts), rng);
    }
}

TEST(PackedFile, DenseSoftmaxModuleInOneSweep) {
  Rng rng(4);
  const Rule& dense = rules()[2];
  for (const Form& form : {forms()[0], forms()[1]})
    for (const DType dtype : {DType::kFloat32, DType::kBFloat16}) {
      BlockConfig config = make_config(dense, form, 4, {10, 0, 5});
      config.router.matmul = Precision::kFloat32;
      config.router.all_experts = true;
      config.router.top_k = config.router.num_experts;
      const BlockTensors tensors = random_tensors(rng, config, dtype, dense.parts);
      EXPECT_NE(MoeLayer(config, tensors).explain().find("one sweep"), std::string::npos);
      expect_round_trip(config, tensors, rng);
    }
}

TEST(PackedFile, WeightsQuantisedOnTheWay) {
  Rng rng(5);
  const BlockConfig config = gated_config(200, 72, true);
  const BlockTensors tensors = random_tensors(rng, config, DType::kBFloat16);
  for (const char* dtype : {"float32", "bf16z", "int8", "int4", "fp8", "mxfp4"})
    expect_round_trip(config, tensors, rng, dtype);
}

// A wide and a narrow projection, so that one is compressed and the other is not.
TEST(PackedFile, CompressedProjectionsBesidePlainOnes) {
  Rng rng(8);
  for (const bool shared : {false, true}) {
    const BlockConfig config = gated_config(200, 72, shared);
    BlockTensors tensors = random_tensors(rng, config, DType::kBFloat16);
    std::vector<std::uint16_t> bits(200 * 72);
    for (std::uint16_t& b : bits) b = static_cast<std::uint16_t>(rng() % 0x7f80);
    tensors.experts[1].down = matrix_of(memory_tensor("down", bits.data(), DType::kBFloat16, {200, 72}));
    EXPECT_EQ(MoeLayer(config, tensors,
                       [] {
                         LayerOptions o;
                         o.dtype = "bf16z";
                         return o;
                       }())
                  .format(),
              "bf16z, bfloat16");
    expect_round_trip(config, tensors, rng, "bf16z");
  }
}

TEST(PackedFile, Bfloat16AndBf16zTurnIntoEachOther) {
  Rng rng(9);
  const BlockConfig config = gated_config(200, 72, true);
  const BlockTensors tensors = random_tensors(rng, config, DType::kBFloat16);
  for (const auto& [from, to] : {std::pair("bfloat16", "bf16z"), std::pair("bf16z", "bfloat16")}) {
    const TempFolder folder;
    const std::string path = write_layer(folder, config, tensors, from);
    LayerOptions options;
    EXPECT_EQ(MoeLayer::from_file(path, options).format(), from);
    options.dtype = to;
    const MoeLayer loaded = MoeLayer::from_file(path, options), plain(config, tensors, options);
    EXPECT_EQ(loaded.format(), to);
    EXPECT_EQ(loaded.packed_bytes(), plain.packed_bytes());
    expect_same_bits(loaded, plain, config, rng);
    // Backends without compressed panels: the reference takes them as what they are, plain.
    options.dtype = from;
    options.backend = "reference";
    EXPECT_EQ(MoeLayer::from_file(path, options).format(), "bfloat16");
  }
}

TEST(PackedFile, ReferenceRunsTheUnpackedWeights) {
  Rng rng(6);
  for (const QuantVariant& variant : quant_variants()) {
    SCOPED_TRACE(variant.name);
    const BlockConfig config = gated_config(200, 72, true);
    const BlockTensors tensors = random_quantised_tensors(rng, config, variant, false);
    const TempFolder folder;
    LayerOptions options;
    options.backend = "reference";
    const MoeLayer loaded = MoeLayer::from_file(write_layer(folder, config, tensors), options);
    const MoeLayer plain(config, tensors, options);
    EXPECT_EQ(loaded.backend(), "reference");
    // bfloat16 weights beside quantised ones become float32 here, which changes what x is rounded to.
    const Matrix x = Matrix::random(rng, 9, 200, DType::kFloat32);
    EXPECT_LE(nmse(run(loaded, x, {}).y, run(plain, x, {}).y, all_rows(x)), 1e-5);
  }
}

TEST(PackedFile, AnotherDtypeIsRefused) {
  Rng rng(7);
  const BlockConfig config = gated_config(64, 32, false);
  const TempFolder folder;
  const std::string path = write_layer(folder, config, random_tensors(rng, config, DType::kBFloat16), "int4");
  LayerOptions options;
  options.dtype = "int4";
  EXPECT_EQ(MoeLayer::from_file(path, options).format(), "int4");
  options.dtype = "fp8";
  const std::string error = test::checkpoint_error_of([&] { MoeLayer::from_file(path, options); });
  EXPECT_NE(error.find("converted to int4, dtype 'fp8' asked"), std::string::npos) << error;
}

}  // namespace
}  // namespace moekit::conformance
