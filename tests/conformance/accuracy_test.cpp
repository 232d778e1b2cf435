// SPDX-License-Identifier: Apache-2.0
// Every expert form and every router rule against the reference; the reference against the plain formula.
#include <tuple>

#include "conformance/harness.h"

namespace moekit::conformance {
namespace {

// A mean over few elements scatters: a single batch may pass the bound of the mode, which holds for all batches of a
// block together, by this factor.
constexpr double kBatchFactor = 20.0;

// With short weights the experts' input is rounded to their dtype. x is of it to begin with, but w * x is not.
double bound_of(const Target& target, const Mode& mode, const BlockConfig& config) {
  const bool rounds_input = config.router.apply_at == ApplyAt::kInput && mode.weights != DType::kFloat32;
  return (rounds_input && mode.data == DType::kFloat32 ? 3.0 : 1.0) * nmse_bound(target, mode);
}

void compare(const Target& target, const BlockConfig& config, const RouterParts& parts, const Mode& mode,
             const std::vector<std::int64_t>& batches, std::uint64_t seed) {
  const Block block(target, config, mode, parts, seed);
  Rng rng(seed + 1);
  Nmse total;
  for (const std::int64_t tokens : batches) {
    SCOPED_TRACE(std::to_string(tokens) + " tokens");
    const Matrix x = Matrix::random(rng, tokens, config.expert.input, mode.data);
    const Inputs inputs = Inputs::random(rng, config.router, tokens);
    const Result got = run(block.layer, x, inputs), want = run_oracle(block, x, inputs);
    const std::vector<std::int64_t> rows = agreeing_rows(block, x, inputs, got, want);
    EXPECT_LE(nmse(got.y, want.y, rows), kBatchFactor * bound_of(target, mode, config));
    total.add(got.y, want.y, rows);
  }
  EXPECT_LE(total.value(), bound_of(target, mode, config));
}

// The reference itself, against the formula written down a second time.
void compare_with_formula(const BlockConfig& config, const RouterParts& parts, const Mode& mode, std::uint64_t seed) {
  const Block block({"reference", ""}, config, mode, parts, seed);
  Rng rng(seed + 1);
  const Matrix x = Matrix::random(rng, 9, config.expert.input, mode.data);
  const Inputs inputs = Inputs::random(rng, config.router, 9);
  const Result got = run_oracle(block, x, inputs);
  EXPECT_LE(nmse(got.y, plain_block(block, x, got), all_rows(x)), 1e-14);  // one rounding to float32: 2^-48 / 3
}

std::string describe_case(const Mode& mode, const BlockConfig& config) {
  return std::string(mode.name) + ", " + std::to_string(config.router.num_experts) + " experts, " +
         std::to_string(config.expert.input) + "-" + std::to_string(config.expert.intermediate) + "-" +
         std::to_string(config.expert.output);
}

void check(const Target& target, const BlockConfig& config, const RouterParts& parts, const Mode& mode,
           const std::vector<std::int64_t>& batches, std::uint64_t seed) {
  SCOPED_TRACE(describe_case(mode, config));
  if (target.backend == "reference") compare_with_formula(config, parts, mode, seed);
  compare(target, config, parts, mode, batches, seed);
}

struct FormTest : testing::TestWithParam<std::tuple<Target, Form>> {};

TEST_P(FormTest, MatchesTheOracle) {
  const auto& [target, form] = GetParam();
  const std::int64_t experts[] = {7, 3, 64, 1, 7};
  std::uint64_t seed = 0;
  for (const Mode& mode : modes(target)) {
    for (std::size_t s = 0; s < (reduced() ? 2 : sizes().size()); ++s) {
      const Rule& rule = rules()[s == 4 ? 1 : 0];
      const std::vector<std::int64_t> batches = reduced() ? std::vector<std::int64_t>{0, 1, 17, 33}
                                                : s < 2   ? std::vector<std::int64_t>{0, 1, 2, 15, 16, 17, 33, 300}
                                                          : std::vector<std::int64_t>{1, 17, 33, 100};
      check(target, make_config(rule, form, experts[s], sizes()[s]), rule.parts, mode, batches, ++seed);
    }
  }
}

struct RuleTest : testing::TestWithParam<std::tuple<Target, Rule>> {};

TEST_P(RuleTest, MatchesTheOracle) {
  const auto& [target, rule] = GetParam();
  const Form& silu = forms()[2];
  std::uint64_t seed = 1000;
  for (const Mode& mode : modes(target)) {
    if (reduced() && mode.weights != mode.data) continue;  // a rule sees the dtype of x only; forms see both
    for (const std::int64_t experts :
         reduced() ? std::vector<std::int64_t>{8} : std::vector<std::int64_t>{1, 3, 7, 8, 64})
      if (experts >= rule.min_experts)
        check(target, make_config(rule, silu, experts, sizes()[0]), rule.parts, mode,
              reduced() ? std::vector<std::int64_t>{0, 1, 33} : std::vector<std::int64_t>{0, 1, 2, 16, 33, 300},
              ++seed);
  }
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
