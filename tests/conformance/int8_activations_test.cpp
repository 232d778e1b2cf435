// SPDX-License-Identifier: Apache-2.0
// int8 activations: what the oracle computes from inputs rounded in the same way, on every ISA, whatever the batch.
#include <cmath>
#include <limits>

#include "conformance/harness.h"
#include "conformance/quantised.h"
#include "core/thread_pool.h"
#include "moekit/error.h"

namespace moekit::conformance {
namespace {

// Of the backends that this suite knows the formats of.
struct Int8Activations : testing::TestWithParam<Target> {
  void SetUp() override {
    if (GetParam().backend != "cpu" && GetParam().backend != "reference") GTEST_SKIP() << "has tests of its own";
  }
};

bool takes(const QuantVariant& variant) { return variant.format.code != Code::kE4M3 && !variant.act_order; }
// 5 and 6 bit codes have planes of their own, which no integer kernel reads.
bool refuses(const QuantVariant& variant) {
  return variant.format.code == Code::kE4M3 || variant.format.code == Code::kUInt5 ||
         variant.format.code == Code::kUInt6;
}

BlockConfig config_of(std::int64_t hidden, std::int64_t intermediate, Activation act) {
  BlockConfig config;
  config.router.num_experts = 4;
  config.router.top_k = 2;
  config.expert.input = config.expert.output = hidden;
  config.expert.intermediate = act == Activation::kLinear ? 0 : intermediate;
  config.expert.act = act;
  config.expert.limit = 7.0;
  return config;
}

std::int64_t fit(std::int64_t size, std::int64_t multiple) { return (size + multiple - 1) / multiple * multiple; }

template <class Body>
void for_each_variant(Activation act, Body&& body) {
  for (const QuantVariant& variant : quant_variants()) {
    if (!takes(variant) || refuses(variant)) continue;
    SCOPED_TRACE(variant.name);
    Rng rng(21);
    const BlockConfig config = config_of(fit(200, variant.multiple), fit(136, variant.multiple), act);
    body(config, random_quantised_tensors(rng, config, variant, false), rng);
  }
}

std::vector<std::int64_t> same_routing(const Result& got, const Result& want, std::int64_t tokens, std::int64_t k) {
  std::vector<std::int64_t> rows;
  for (std::int64_t r = 0; r < tokens; ++r)
    if (std::equal(got.ids.begin() + r * k, got.ids.begin() + (r + 1) * k, want.ids.begin() + r * k)) rows.push_back(r);
  return rows;
}

// Without an activation the inputs are rounded from the same numbers: nothing but float32 sums is left between the two.
TEST_P(Int8Activations, LinearExpertsAgreeWithTheOracleTightly) {
  for_each_variant(Activation::kLinear, [&](const BlockConfig& config, const BlockTensors& tensors, Rng& rng) {
    const MoeLayer layer = make_layer(GetParam(), config, tensors, "auto", true);
    const MoeLayer oracle = make_layer({"reference", ""}, config, tensors, "auto", true);
    const Matrix x = Matrix::random(rng, 23, config.expert.input, DType::kFloat32);
    const Result got = run(layer, x, {}), want = run(oracle, x, {});
    EXPECT_LE(nmse(got.y, want.y, same_routing(got, want, 23, 2)), 1e-10);
  });
}

// Hidden activations that lie between two integers may go either way, a step of 1/127 for one in 10^4 or fewer.
TEST_P(Int8Activations, OutputsAgreeWithTheOracle) {
  for (const Activation act : {Activation::kSilu, Activation::kRelu2}) {
    if (reduced() && act != Activation::kSilu) continue;
    for_each_variant(act, [&](const BlockConfig& config, const BlockTensors& tensors, Rng& rng) {
      const MoeLayer layer = make_layer(GetParam(), config, tensors, "auto", true);
      const MoeLayer oracle = make_layer({"reference", ""}, config, tensors, "auto", true);
      const MoeLayer exact = make_layer({"reference", ""}, config, tensors, "auto");
      for (const DType dtype : {DType::kFloat32, DType::kBFloat16}) {
        if (reduced() && dtype != DType::kFloat32) continue;
        const Matrix x = Matrix::random(rng, 23, config.expert.input, dtype);
        const Result got = run(layer, x, {}), want = run(oracle, x, {});
        const std::vector<std::int64_t> rows = same_routing(got, want, 23, 2);
        ASSERT_GE(rows.size(), 22u);
        const double apart = nmse(got.y, want.y, rows), rounding = nmse(run(exact, x, {}).y, want.y, rows);
        EXPECT_LE(apart, dtype == DType::kFloat32 ? 1e-6 : 1e-5);
        EXPECT_GE(rounding, 1e-5);  // the inputs were rounded indeed
        EXPECT_LE(rounding, 3e-3);  // and not to less than seven bits
      }
    });
  }
}

TEST_P(Int8Activations, RowsDoNotDependOnTheBatchOrTheThreads) {
  for_each_variant(Activation::kSilu, [&](const BlockConfig& config, const BlockTensors& tensors, Rng& rng) {
    const MoeLayer layer = make_layer(GetParam(), config, tensors, "auto", true);
    const Matrix pool = Matrix::random(rng, 61, config.expert.input, DType::kFloat32);
    const Result all = run(layer, pool, {});
    for (const std::int64_t r : {0, 7, 33, 60})
      ASSERT_EQ(row_bits(run(layer, pool.take({r}), {}), 0), row_bits(all, r));
    const Result few = run(layer, pool.take({5, 60, 5, 11, 2, 30, 7}), {});
    ASSERT_EQ(row_bits(few, 1), row_bits(all, 60));
    ASSERT_EQ(row_bits(few, 2), row_bits(all, 5));
    for (const int threads : {1, 3}) {
      set_num_threads(threads);
      const Result again = run(layer, pool, {});
      set_num_threads(0);
      ASSERT_EQ(again.y.bytes(), all.y.bytes());
    }
  });
}

TEST_P(Int8Activations, PoisonedAndEmptyRowsStayAlone) {
  for_each_variant(Activation::kSilu, [&](const BlockConfig& config, const BlockTensors& tensors, Rng& rng) {
    const MoeLayer layer = make_layer(GetParam(), config, tensors, "auto", true);
    Matrix x = Matrix::random(rng, 9, config.expert.input, DType::kFloat32);
    const Result clean = run(layer, x, {});
    x.set(2, 17, std::numeric_limits<float>::quiet_NaN());
    for (std::int64_t c = 0; c < config.expert.input; ++c) x.set(4, c, 0.0f);
    const Result got = run(layer, x, {});
    for (const std::int64_t r : {0, 1, 3, 5, 8}) ASSERT_EQ(row_bits(got, r), row_bits(clean, r));
    for (std::int64_t c = 0; c < config.expert.output; ++c) {
      ASSERT_TRUE(std::isnan(got.y.at(2, c)));
      ASSERT_EQ(got.y.at(4, c), 0.0f);
    }
  });
}

TEST_P(Int8Activations, OtherWeightsAreRefused) {
  Rng rng(4);
  for (const QuantVariant& variant : quant_variants()) {
    const bool ordered = variant.act_order && GetParam().backend == "cpu";
    if (!refuses(variant) && !ordered) continue;
    SCOPED_TRACE(variant.name);
    const BlockConfig config = config_of(fit(64, variant.multiple), fit(64, variant.multiple), Activation::kSilu);
    const BlockTensors tensors = random_quantised_tensors(rng, config, variant, false);
    EXPECT_THROW(make_layer(GetParam(), config, tensors, "auto", true), UnsupportedError);
  }
  const BlockConfig config = config_of(64, 64, Activation::kSilu);
  EXPECT_THROW(make_layer(GetParam(), config, random_tensors(rng, config, DType::kBFloat16), "auto", true),
               UnsupportedError);
}

INSTANTIATE_TEST_SUITE_P(On, Int8Activations, testing::ValuesIn(targets()), target_name);

}  // namespace
}  // namespace moekit::conformance
