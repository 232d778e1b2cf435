// SPDX-License-Identifier: Apache-2.0
// Every weight format on every backend and ISA: the weights that come back are the oracle's bit for bit, outputs agree
// with it, and a row's bits do not depend on its batch.
#include "conformance/quantised.h"
#include "conformance/harness.h"
#include "core/thread_pool.h"
#include "moekit/error.h"

#if defined(__SSE2__)
#include <immintrin.h>
#endif

namespace moekit::conformance {
namespace {

struct Quantised : testing::TestWithParam<Target> {};

struct Shape {
  std::int64_t hidden, intermediate;
  Activation act;
  bool shared, quantised_shared;
};
// Tails of groups, steps, tiles and blocks; gated and not; shared experts in the format and in bfloat16.
constexpr Shape kShapes[] = {{200, 72, Activation::kSilu, true, false},
                             {128, 160, Activation::kSwigluOai, false, false},
                             {296, 40, Activation::kRelu2, true, true},
                             {1160, 136, Activation::kSilu, false, false},
                             {37, 51, Activation::kGelu, true, true}};

BlockConfig config_of(const Shape& shape) {
  BlockConfig config;
  config.router.num_experts = 3;
  config.router.top_k = 2;
  config.expert.input = config.expert.output = shape.hidden;
  config.expert.intermediate = shape.intermediate;
  config.expert.act = shape.act;
  config.expert.limit = 7.0;
  config.expert.up_bias = config.expert.down_bias = shape.act == Activation::kSwigluOai;
  if (shape.shared) {
    config.shared.count = 1;
    config.shared.expert = config.expert;
  }
  return config;
}

// Sizes that the packing can have.
Shape fit(Shape shape, std::int64_t multiple) {
  shape.hidden = (shape.hidden + multiple - 1) / multiple * multiple;
  shape.intermediate = (shape.intermediate + multiple - 1) / multiple * multiple;
  return shape;
}

// Whether there are kernels that multiply bfloat16 on both sides; names of emulated ones begin alike.
bool multiplies_bfloat16(const Target& target) {
  return target.isa.rfind("amx", 0) == 0 || target.isa.rfind("avx512bf16", 0) == 0 || target.isa == "neonbf16";
}
// Whether quantised weights meet them. On those instruction sets some formats meet integers or float32 rows.
bool unpacks_to_bfloat16(const MoeLayer& layer) {
  return layer.explain().find("unpacked to bfloat16") != std::string::npos;
}

// Whether rows meet them as bfloat16, unpacked or as the codes they are.
bool rounds_activations(const MoeLayer& layer) {
  return layer.explain().find("x rounded to bfloat16") != std::string::npos;
}

// Outputs in bfloat16 differ by a rounding of 2^-9 at most: relative error squared, over its mean, 3e-6. Where
// bfloat16 activations are multiplied hidden ones are rounded too, for 5e-6 at most, around which the mean over one
// token scatters.
double bound_of(const Target& target) { return multiplies_bfloat16(target) || target.backend == "cuda" ? 3e-5 : 1e-5; }

// The oracle with the weights that `layer` multiplies: dequantised and rounded to bfloat16, where kernels do that.
MoeLayer oracle_of(const MoeLayer& layer, const BlockConfig& config, const BlockTensors& tensors) {
  return make_layer({"reference", ""}, config, tensors, unpacks_to_bfloat16(layer) ? "bfloat16" : "auto");
}

// Every variant with some of the shapes.
template <class Body>
void for_each_block(std::initializer_list<std::size_t> shapes, Body&& body) {
  for (const QuantVariant& variant : quant_variants()) {
    std::uint64_t seed = 11;
    for (const std::size_t index : shapes) {
      if (reduced() && index != 0 && index != 4) continue;
      const Shape shape = fit(kShapes[index], variant.multiple);
      SCOPED_TRACE(variant.name + ", " + std::to_string(shape.hidden) + " x " + std::to_string(shape.intermediate));
      Rng rng(seed++);
      const BlockConfig config = config_of(shape);
      const BlockTensors tensors = random_quantised_tensors(rng, config, variant, shape.quantised_shared);
      body(config, tensors, shape, rng);
    }
  }
}

TEST_P(Quantised, WeightsComeBackAsTheOracleHasThem) {
  for_each_block({0, 1, 2, 3, 4},
                 [&](const BlockConfig& config, const BlockTensors& tensors, const Shape& shape, Rng&) {
                   const MoeLayer layer = make_layer(GetParam(), config, tensors, "auto");
                   const MoeLayer oracle = make_layer({"reference", ""}, config, tensors, "auto");
                   ASSERT_EQ(layer.backend(), GetParam().backend);
                   for (const DType dtype : {DType::kFloat32, DType::kUInt8}) {
                     if (dtype == DType::kUInt8 && GetParam().backend == "cuda") {  // dequantised weights only
                       EXPECT_THROW(unpacked(layer, 0, false, dtype), UnsupportedError);
                       continue;
                     }
                     for (std::int64_t e = 0; e < config.router.num_experts; ++e)
                       ASSERT_EQ(unpacked(layer, e, false, dtype), unpacked(oracle, e, false, dtype)) << "expert " << e;
                     if (shape.shared && shape.quantised_shared) {
                       ASSERT_EQ(unpacked(layer, 0, true, dtype), unpacked(oracle, 0, true, dtype));
                     }
                   }
                 });
}

TEST_P(Quantised, PlainWeightsHaveNoCodes) {
  Rng rng(5);
  const BlockConfig config = config_of(kShapes[0]);
  const MoeLayer layer = make_layer(GetParam(), config, random_tensors(rng, config, DType::kBFloat16), "auto");
  EXPECT_THROW(unpacked(layer, 0, false, DType::kUInt8), std::invalid_argument);
}

TEST_P(Quantised, OutputsAgreeWithTheOracle) {
  for_each_block({0, 1, 2, 4}, [&](const BlockConfig& config, const BlockTensors& tensors, const Shape&, Rng& rng) {
    const MoeLayer layer = make_layer(GetParam(), config, tensors, "auto");
    const MoeLayer oracle = oracle_of(layer, config, tensors);
    for (const DType dtype : {DType::kFloat32, DType::kBFloat16})
      for (const std::int64_t tokens : {1, 19}) {
        const Matrix x = Matrix::random(rng, tokens, config.expert.input, dtype);
        const Result got = run(layer, x, {}), want = run(oracle, x, {});
        std::vector<std::int64_t> rows;  // a router at an edge may choose otherwise
        for (std::int64_t r = 0; r < tokens; ++r)
          if (std::equal(got.ids.begin() + r * 2, got.ids.begin() + r * 2 + 2, want.ids.begin() + r * 2))
            rows.push_back(r);
        ASSERT_GE(static_cast<std::int64_t>(rows.size()), tokens - 1);
        EXPECT_LE(nmse(got.y, want.y, rows), bound_of(GetParam())) << tokens << " tokens of " << dtype_name(dtype);
      }
  });
}

// A row with a single 1 gives a column of the weights: every code, scale and zero point on its way through the kernels
// of one row, a few and many, each in its place.
TEST_P(Quantised, OneHotRowsGiveTheWeightsExactly) {
  if (GetParam().backend != "cpu") GTEST_SKIP() << "weights are bfloat16 here";
  for (const QuantVariant& variant : quant_variants()) {
    SCOPED_TRACE(variant.name);
    BlockConfig config = config_of(fit({296, 0, Activation::kLinear, false, false}, variant.multiple));
    config.router.num_experts = config.router.top_k = 1;
    config.expert.output = 72;
    Rng rng(17);
    const BlockTensors tensors = random_quantised_tensors(rng, config, variant, false);
    const MoeLayer layer = make_layer(GetParam(), config, tensors, "auto");
    const std::int64_t columns = config.expert.input;
    Matrix x(columns, columns, DType::kFloat32);
    for (std::int64_t k = 0; k < columns; ++k) x.set(k, k, 1.0f);
    const Result all = run(layer, x, {}), want = run(oracle_of(layer, config, tensors), x, {});
    for (std::int64_t k = 0; k < columns; ++k)
      for (std::int64_t c = 0; c < config.expert.output; ++c)
        ASSERT_EQ(all.y.at(k, c), want.y.at(k, c)) << "weight " << c << ", " << k;
    for (const std::int64_t rows : {1, 2, 3, 5}) {
      std::vector<std::int64_t> some;
      for (std::int64_t r = 0; r < rows; ++r) some.push_back(7 + 50 * r);
      const Result few = run(layer, x.take(some), {});
      for (std::int64_t r = 0; r < rows; ++r)
        ASSERT_EQ(row_bits(few, r), row_bits(all, some[static_cast<std::size_t>(r)]));
    }
  }
}

// Where activations are not bfloat16 they keep a float32's precision, in fixed point too: rows whose largest is a
// hundred times the others are the hard ones for it.
TEST_P(Quantised, Float32ActivationsKeepTheirPrecision) {
  const Target& target = GetParam();
  if (target.backend != "cpu") GTEST_SKIP() << "activations are bfloat16 here";
  int tried = 0;
  // Shapes without bfloat16 weights beside the quantised ones.
  for_each_block({1, 4}, [&](const BlockConfig& config, const BlockTensors& tensors, const Shape&, Rng& rng) {
    const MoeLayer layer = make_layer(target, config, tensors, "auto");
    if (rounds_activations(layer)) return;
    ++tried;
    const MoeLayer oracle = make_layer({"reference", ""}, config, tensors, "auto");
    Matrix x = Matrix::random(rng, 19, config.expert.input, DType::kFloat32);
    for (std::int64_t r = 0; r < 19; r += 2) x.set(r, r, 100.0f);
    const Result got = run(layer, x, {}), want = run(oracle, x, {});
    std::vector<std::int64_t> rows;
    for (std::int64_t r = 0; r < 19; ++r)
      if (std::equal(got.ids.begin() + r * 2, got.ids.begin() + r * 2 + 2, want.ids.begin() + r * 2)) rows.push_back(r);
    ASSERT_GE(rows.size(), 18u);
    EXPECT_LE(nmse(got.y, want.y, rows), 1e-10);
  });
  if (tried == 0) GTEST_SKIP() << "activations are bfloat16 here";
}

TEST_P(Quantised, RowsDoNotDependOnTheBatch) {
  for_each_block({1, 4}, [&](const BlockConfig& config, const BlockTensors& tensors, const Shape&, Rng& rng) {
    const MoeLayer layer = make_layer(GetParam(), config, tensors, "auto");
    const Matrix pool = Matrix::random(rng, 40, config.expert.input, DType::kFloat32);
    const Result all = run(layer, pool, {});
    for (const std::int64_t r : {0, 7, 39}) ASSERT_EQ(row_bits(run(layer, pool.take({r}), {}), 0), row_bits(all, r));
    set_num_threads(3);
    const Result again = run(layer, pool, {});
    set_num_threads(0);
    ASSERT_EQ(again.y.bytes(), all.y.bytes());
  });
}

TEST_P(Quantised, PlainWeightsAreQuantisedOnTheFly) {
  for (const char* dtype : {"int8", "int4", "fp8", "mxfp4"}) {
    SCOPED_TRACE(dtype);
    Rng rng(3);
    const BlockConfig config = config_of(kShapes[0]);
    const BlockTensors tensors = random_tensors(rng, config, DType::kBFloat16);
    const MoeLayer layer = make_layer(GetParam(), config, tensors, dtype);
    const MoeLayer oracle = make_layer({"reference", ""}, config, tensors, dtype);
    EXPECT_EQ(layer.format(), dtype);
    ASSERT_EQ(unpacked(layer, 0, false), unpacked(oracle, 0, false));
    const Matrix x = Matrix::random(rng, 9, config.expert.input, DType::kFloat32);
    // The oracle's weights are not rounded to bfloat16, which makes the error of nine tokens up to 3e-5 larger.
    EXPECT_LE(nmse(run(layer, x, {}).y, run(oracle, x, {}).y, all_rows(x)),
              bound_of(GetParam()) + (multiplies_bfloat16(GetParam()) ? 3e-5 : 0.0));
  }
}

#if defined(__SSE2__)
// Small E4M3 codes are read through subnormal numbers, which a program may have told its threads to treat as zero.
TEST_P(Quantised, BitsDoNotDependOnTheCallersFloatingPointState) {
  const QuantVariant variant = {"fp8", {"fp8", Code::kE4M3, 0, DType::kFloat32}};
  Rng rng(4);
  const BlockConfig config = config_of(kShapes[0]);
  const BlockTensors tensors = random_quantised_tensors(rng, config, variant, true);
  const MoeLayer layer = make_layer(GetParam(), config, tensors, "auto");
  const Matrix x = Matrix::random(rng, 3, config.expert.input, DType::kFloat32);
  const Result want = run(layer, x, {});
  const std::vector<std::byte> weights = unpacked(layer, 0, false);
  const unsigned state = _mm_getcsr();
  _mm_setcsr(state | 0x8040);  // flush to zero, denormals are zero
  const Result got = run(layer, x, {});
  const bool same_weights = unpacked(layer, 0, false) == weights;
  const bool kept = _mm_getcsr() == (state | 0x8040);
  _mm_setcsr(state);
  EXPECT_TRUE(kept);
  if (GetParam().backend == "cpu") {
    EXPECT_TRUE(same_weights);
    EXPECT_EQ(got.y.bytes(), want.y.bytes());
  }
}
#endif

INSTANTIATE_TEST_SUITE_P(On, Quantised, testing::ValuesIn(targets()), target_name);

}  // namespace
}  // namespace moekit::conformance
