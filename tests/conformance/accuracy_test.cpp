// SPDX-License-Identifier: Apache-2.0
// Every expert form and every router rule against the reference; the reference against the plain formula.
#include <tuple>

#include "conformance/harness.h"

namespace moekit::conformance {
namespace {

const Target kReference{"reference", ""};

void compare(const Target& target, const BlockConfig& config, const RouterParts& parts, const Mode& mode,
             const std::vector<std::int64_t>& batches, std::uint64_t seed) {
  const Block block(target, config, mode, parts, seed);
  const Block oracle(kReference, config, mode, parts, seed);
  Rng rng(seed + 1);
  for (const std::int64_t tokens : batches) {
    SCOPED_TRACE(std::string(mode.name) + ", " + std::to_string(tokens) + " tokens, " +
                 std::to_string(config.router.num_experts) + " experts, " + std::to_string(config.expert.input) + "-" +
                 std::to_string(config.expert.intermediate) + "-" + std::to_string(config.expert.output));
    const Matrix x = Matrix::random(rng, tokens, config.expert.input, mode.data);
    const Inputs inputs = Inputs::random(rng, config.router, tokens);
    const Result got = run(block.layer, x, inputs);
    if (target.backend == kReference.backend) {
      std::vector<std::int64_t> rows(static_cast<std::size_t>(std::min<std::int64_t>(tokens, 20)));
      for (std::size_t i = 0; i < rows.size(); ++i) rows[i] = static_cast<std::int64_t>(i);
      Result head{Matrix(0, 0, mode.data), got.ids, got.weights};
      const double bound = mode.data == DType::kBFloat16 ? 1e-9 : 1e-14;  // a rounding to bf16 may fall the other way
      EXPECT_LE(nmse(got.y, plain_block(block, x.take(rows), head), rows), bound);
      continue;
    }
    const Result want = run(oracle.layer, x, inputs);
    const std::vector<std::int64_t> rows = agreeing_rows(block, x, inputs, got, want);
    EXPECT_LE(nmse(got.y, want.y, rows), mode.nmse);
  }
}

struct FormTest : testing::TestWithParam<std::tuple<Target, Form>> {};

TEST_P(FormTest, MatchesTheOracle) {
  const auto& [target, form] = GetParam();
  const std::int64_t experts[] = {7, 3, 64, 1, 7};
  std::uint64_t seed = 0;
  for (const Mode& mode : modes()) {
    for (std::size_t s = 0; s < sizes().size(); ++s) {
      const Rule& rule = rules()[s == 4 ? 1 : 0];
      const std::vector<std::int64_t> batches =
          s < 2 ? std::vector<std::int64_t>{0, 1, 2, 15, 16, 17, 33, 300} : std::vector<std::int64_t>{1, 17, 33};
      compare(target, make_config(rule, form, experts[s], sizes()[s]), rule.parts, mode, batches, ++seed);
    }
  }
}

struct RuleTest : testing::TestWithParam<std::tuple<Target, Rule>> {};

TEST_P(RuleTest, MatchesTheOracle) {
  const auto& [target, rule] = GetParam();
  const Form& silu = forms()[2];
  std::uint64_t seed = 1000;
  for (const Mode& mode : modes())
    for (const std::int64_t experts : {1, 3, 7, 8, 64})
      if (experts >= rule.min_experts)
        compare(target, make_config(rule, silu, experts, sizes()[0]), rule.parts, mode, {0, 1, 2, 16, 33, 300}, ++seed);
}

template <class Item>
std::string pair_name(const testing::TestParamInfo<std::tuple<Target, Item>>& info) {
  return std::get<0>(info.param).name() + "__" + std::get<1>(info.param).name;
}

INSTANTIATE_TEST_SUITE_P(On, FormTest, testing::Combine(testing::ValuesIn(targets()), testing::ValuesIn(forms())),
                         pair_name<Form>);
INSTANTIATE_TEST_SUITE_P(On, RuleTest, testing::Combine(testing::ValuesIn(targets()), testing::ValuesIn(rules())),
                         pair_name<Rule>);

}  // namespace
}  // namespace moekit::conformance
