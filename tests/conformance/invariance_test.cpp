// SPDX-License-Identifier: Apache-2.0
// A row's bits depend on nothing but the row: not on its batch, its place, the threads, or other callers.
#include <algorithm>
#include <atomic>
#include <thread>

#include "conformance/harness.h"

namespace moekit::conformance {
namespace {

struct Invariance : testing::TestWithParam<Target> {
  // A few pairs of rule and form that between them take every path through a block.
  static std::vector<std::pair<const Rule*, const Form*>> pairs() {
    const auto rule = [](const std::string& name) {
      return &*std::find_if(rules().begin(), rules().end(), [&](const Rule& r) { return r.name == name; });
    };
    const auto form = [](const std::string& name) {
      return &*std::find_if(forms().begin(), forms().end(), [&](const Form& f) { return f.name == name; });
    };
    return {{rule("softmax_renorm"), form("silu")},
            {rule("dense"), form("linear_bias")},
            {rule("sigmoid_groups_top2"), form("shared_sigmoid")},
            {rule("identity_experts"), form("swiglu_oai_biases")},
            {rule("weighted_input"), form("shared_add")},
            {rule("hash_table"), form("relu2")},
            {rule("external"), form("gelu")}};
  }
};

TEST_P(Invariance, OfTheBatch) {
  constexpr std::int64_t kPool = 64;
  for (const Mode& mode : modes(GetParam())) {
    for (const auto& [rule, form] : pairs()) {
      SCOPED_TRACE(std::string(mode.name) + ", " + rule->name + ", " + form->name);
      const BlockConfig config = make_config(*rule, *form, 8, sizes()[0]);
      const Block block(GetParam(), config, mode, rule->parts, 5);
      Rng rng(6);
      const Matrix pool = Matrix::random(rng, kPool, config.expert.input, mode.data);
      const Inputs inputs = Inputs::random(rng, config.router, kPool);
      std::vector<std::vector<std::byte>> alone;
      for (std::int64_t r = 0; r < kPool; ++r)
        alone.push_back(row_bits(run(block.layer, pool.take({r}), inputs.take({r}, config.router.top_k)), 0));
      for (int batch = 0; batch < (reduced() ? 4 : 36); ++batch) {  // 4 modes x 7 pairs x 36 = 1008 batches
        std::vector<std::int64_t> rows(std::uniform_int_distribution<std::size_t>(1, 90)(rng));
        for (std::int64_t& row : rows) row = std::uniform_int_distribution<std::int64_t>(0, kPool - 1)(rng);
        const Result result = run(block.layer, pool.take(rows), inputs.take(rows, config.router.top_k));
        for (std::size_t i = 0; i < rows.size(); ++i)
          ASSERT_EQ(row_bits(result, static_cast<std::int64_t>(i)), alone[static_cast<std::size_t>(rows[i])])
              << "row " << i << " of a batch of " << rows.size();
      }
    }
  }
}

// Wide enough that there is work for every thread.
constexpr Size kWide{160, 96, 160};

TEST_P(Invariance, OfTheThreads) {
  for (const Mode& mode : modes(GetParam())) {
    for (const auto& [rule, form] : pairs()) {
      const BlockConfig config = make_config(*rule, *form, 8, kWide);
      const Block block(GetParam(), config, mode, rule->parts, 7);
      for (const std::int64_t tokens :
           reduced() ? std::vector<std::int64_t>{33} : std::vector<std::int64_t>{1, 5, 33, 200}) {
        Rng rng(8);
        const Matrix x = Matrix::random(rng, tokens, config.expert.input, mode.data);
        const Inputs inputs = Inputs::random(rng, config.router, tokens);
        set_num_threads(1);
        const Result serial = run(block.layer, x, inputs);
        for (const int threads : reduced() ? std::vector<int>{3, 16} : std::vector<int>{2, 3, 7, 16}) {
          set_num_threads(threads);
          const Result result = run(block.layer, x, inputs);
          EXPECT_EQ(result.y.bytes(), serial.y.bytes()) << mode.name << ", " << rule->name << ", " << form->name << ", "
                                                        << tokens << " tokens, " << threads << " threads";
          EXPECT_EQ(result.ids, serial.ids);
          EXPECT_EQ(result.weights, serial.weights);
        }
        set_num_threads(0);
      }
    }
  }
}

TEST_P(Invariance, OfOtherCallers) {
  constexpr int kThreads = 16;
  const int calls = reduced() ? 6 : 60;
  const auto [rule, form] = pairs()[2];
  for (const Mode& mode : modes(GetParam())) {
    const BlockConfig config = make_config(*rule, *form, 8, sizes()[0]);
    const Block block(GetParam(), config, mode, rule->parts, 9);
    Rng rng(10);
    std::vector<Matrix> x;
    std::vector<std::vector<std::byte>> serial;
    for (const std::int64_t tokens : {1, 3, 16, 40}) {
      x.push_back(Matrix::random(rng, tokens, config.expert.input, mode.data));
      serial.push_back(run(block.layer, x.back(), {}).y.bytes());
    }
    std::atomic<int> wrong{0};
    std::vector<std::thread> callers;
    for (int i = 0; i < kThreads; ++i)
      callers.emplace_back([&, i] {
        for (int call = 0; call < calls; ++call) {
          const auto at = static_cast<std::size_t>(i + call) % x.size();
          if (run(block.layer, x[at], {}).y.bytes() != serial[at]) ++wrong;
        }
      });
    for (std::thread& caller : callers) caller.join();
    EXPECT_EQ(wrong, 0) << mode.name;
  }
}

INSTANTIATE_TEST_SUITE_P(On, Invariance, testing::ValuesIn(targets()), target_name);

}  // namespace
}  // namespace moekit::conformance
