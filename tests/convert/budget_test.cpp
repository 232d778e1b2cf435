// SPDX-License-Identifier: Apache-2.0
// Layers whose experts exceed a memory budget: the bits of the whole layer, within the budget.
#include <unistd.h>

#include <algorithm>
#include <fstream>
#include <thread>

#include "conformance/harness.h"
#include "convert/packed_file.h"
#include "moekit/error.h"

namespace moekit::conformance {
namespace {

using test::TempFolder;
using test::write_layer;

BlockConfig block_config(std::int64_t experts, std::int64_t k, bool shared) {
  BlockConfig config;
  config.router.num_experts = experts;
  config.router.top_k = k;
  config.expert.input = config.expert.output = 96;
  config.expert.intermediate = 40;
  if (shared) {
    config.shared.count = 1;
    config.shared.expert = config.expert;
  }
  return config;
}

MoeLayer with_budget(const std::string& path, std::size_t budget) {
  LayerOptions options;
  options.memory_budget = budget;
  return MoeLayer::from_file(path, options);
}

MemoryNeeds needs_of(const std::string& path) { return MoeLayer::from_file(path).memory_needs(); }
std::size_t of_slots(const MemoryNeeds& needs, std::int64_t slots) {
  return needs.always + static_cast<std::size_t>(slots) * needs.expert;
}

void expect_same_bits(const Result& a, const Result& b) {
  ASSERT_EQ(a.y.bytes(), b.y.bytes());
  ASSERT_EQ(a.ids, b.ids);
  ASSERT_EQ(a.weights, b.weights);
}

// Of a layer of nine experts with rows of 200.
void expect_any_number_of_slots(const std::string& path, Rng& rng) {
  const MoeLayer whole = MoeLayer::from_file(path);
  const MemoryNeeds needs = whole.memory_needs();
  EXPECT_EQ(needs.experts, 9);
  EXPECT_EQ(with_budget(path, needs.all).cache_counts().slots, 0);
  EXPECT_GE(with_budget(path, needs.all - 1).cache_counts().slots, 8);
  for (const std::int64_t slots : reduced() ? std::vector<std::int64_t>{2, 8} : std::vector<std::int64_t>{1, 2, 5, 8}) {
    const MoeLayer layer = with_budget(path, of_slots(needs, slots));
    EXPECT_EQ(layer.cache_counts().slots, slots);
    EXPECT_EQ(with_budget(path, of_slots(needs, slots + 1) - 1).cache_counts().slots, slots);
    // What is not in memory are the other experts; a slot may end on up to 63 bytes of padding.
    EXPECT_LE(layer.resident_bytes() + static_cast<std::size_t>(9 - slots) * (needs.expert - 63),
              whole.packed_bytes() + 9 * 63);
    EXPECT_EQ(layer.packed_bytes(), whole.packed_bytes());
    EXPECT_EQ(layer.memory_needs().least(), needs.least());
    for (const std::int64_t tokens : {1, 2, 30}) {
      const Matrix x = Matrix::random(rng, tokens, 200, DType::kBFloat16);
      expect_same_bits(run(layer, x, {}), run(whole, x, {}));
    }
  }
}

BlockConfig wide_config(bool shared) {
  BlockConfig config = block_config(9, 3, shared);
  config.expert.input = config.expert.output = 200;
  config.expert.intermediate = 72;
  if (shared) config.shared.expert = config.expert;
  return config;
}

TEST(Budget, EveryFormatAndAnyNumberOfSlotsGiveTheBitsOfTheWholeLayer) {
  Rng rng(1);
  for (const bool shared : {false, true}) {
    const BlockConfig config = wide_config(shared);
    for (const QuantVariant& variant : quant_variants()) {
      SCOPED_TRACE(variant.name);
      const TempFolder folder;
      expect_any_number_of_slots(write_layer(folder, config, random_quantised_tensors(rng, config, variant, shared)),
                                 rng);
    }
    for (const char* dtype : {"bfloat16", "bf16z"}) {
      SCOPED_TRACE(dtype);
      const TempFolder folder;
      expect_any_number_of_slots(write_layer(folder, config, random_tensors(rng, config, DType::kBFloat16), dtype),
                                 rng);
    }
  }
}

TEST(Budget, EveryFormAndRouter) {
  Rng rng(2);
  for (const Form& form : forms())
    for (const Rule& rule : rules()) {
      if (reduced() && &form != &forms().front() && &rule != &rules().front()) continue;
      SCOPED_TRACE(std::string(form.name) + " " + rule.name);
      const BlockConfig config = make_config(rule, form, std::max<std::int64_t>(8, rule.min_experts), sizes()[0]);
      const TempFolder folder;
      const std::string path = write_layer(folder, config, random_tensors(rng, config, DType::kFloat32, rule.parts));
      if (config.router.all_experts) {
        EXPECT_THROW(with_budget(path, 1), UnsupportedError);
        continue;
      }
      const MoeLayer whole = MoeLayer::from_file(path), layer = with_budget(path, of_slots(needs_of(path), 2));
      EXPECT_EQ(layer.cache_counts().slots, 2);
      for (const DType dtype : {DType::kFloat32, DType::kBFloat16}) {
        const Matrix x = Matrix::random(rng, 11, config.expert.input, dtype);
        const Inputs inputs = Inputs::random(rng, config.router, 11);
        expect_same_bits(run(layer, x, inputs), run(whole, x, inputs));
      }
    }
}

// Ids from outside: what each call needs is known.
struct Traffic {
  TempFolder folder;
  BlockConfig config;
  std::string path;
  Matrix x;

  Traffic(std::int64_t experts, std::int64_t k, std::int64_t tokens = 1)
      : config(block_config(experts, k, false)), x(tokens, 96, DType::kFloat32) {
    config.router.source = RouterSource::kExternal;
    Rng rng(3);
    path = write_layer(folder, config, random_tensors(rng, config, DType::kFloat32, {}));
    x = Matrix::random(rng, tokens, 96, DType::kFloat32);
  }
  Result call(const MoeLayer& layer, std::vector<std::int32_t> ids) const {
    Inputs inputs;
    inputs.weights.assign(ids.size(), 0.5f);
    inputs.expert_ids = std::move(ids);
    return run(layer, x, inputs);
  }
};

TEST(Budget, WhatACallNeedsStaysAndNothingIsReadTwiceForIt) {
  const Traffic traffic(16, 4);
  const MemoryNeeds needs = needs_of(traffic.path);
  const MoeLayer whole = MoeLayer::from_file(traffic.path);
  Rng rng(4);
  for (const std::int64_t slots : {4, 5, 9}) {
    const MoeLayer layer = with_budget(traffic.path, of_slots(needs, slots));
    std::vector<std::int32_t> recent;
    for (int i = 0; i < 200; ++i) {
      std::vector<std::int32_t> all(16), ids;
      for (int e = 0; e < 16; ++e) all[static_cast<std::size_t>(e)] = e;
      while (ids.size() < 4) {
        // Mostly the same few, now and then any.
        const std::size_t at = rng() % (i % 3 == 0 ? all.size() : std::min<std::size_t>(all.size(), 6));
        ids.push_back(all[at]);
        all.erase(all.begin() + static_cast<std::ptrdiff_t>(at));
      }
      const CacheCounts before = layer.cache_counts();
      expect_same_bits(traffic.call(layer, ids), traffic.call(whole, ids));
      const CacheCounts after = layer.cache_counts();
      EXPECT_EQ(after.hits - before.hits + after.loads - before.loads, 4u);
      // What was in memory and is needed is not read again: at least the last call's experts are in memory.
      std::uint64_t again = 0;
      for (const std::int32_t id : ids) again += std::count(recent.begin(), recent.end(), id) != 0;
      EXPECT_GE(after.hits - before.hits, again);
      recent = ids;
    }
  }
}

TEST(Budget, MoreThanTheSlotsStreamsThroughAFewOfThem) {
  const Traffic traffic(32, 4, 8);
  const MoeLayer layer = with_budget(traffic.path, of_slots(needs_of(traffic.path), 16));
  std::vector<std::int32_t> ids(32);
  for (int e = 0; e < 32; ++e) ids[static_cast<std::size_t>(e)] = e;
  traffic.call(layer, ids);
  EXPECT_EQ(layer.cache_counts().loads, 32u);
  // From then on all but an eighth of the slots keep what the call comes back to.
  for (int i = 0; i < 3; ++i) {
    const CacheCounts before = layer.cache_counts();
    traffic.call(layer, ids);
    EXPECT_GE(layer.cache_counts().hits - before.hits, 16u - 2u);
  }
}

TEST(Budget, CallsFromManyThreads) {
  const Traffic traffic(12, 2);
  const MoeLayer whole = MoeLayer::from_file(traffic.path),
                 layer = with_budget(traffic.path, needs_of(traffic.path).least());
  std::vector<std::thread> threads;
  for (int t = 0; t < 4; ++t)
    threads.emplace_back([&, t] {
      for (int i = 0; i < 30; ++i) {
        const std::vector<std::int32_t> ids = {(t + i) % 12,
                                               (t + 5 * i + 6) % 12 == (t + i) % 12 ? -1 : (t + 5 * i + 6) % 12};
        expect_same_bits(traffic.call(layer, ids), traffic.call(whole, ids));
      }
    });
  for (std::thread& thread : threads) thread.join();
}

TEST(Budget, AFileCutShortIsAnErrorAndTheLayerStaysUsable) {
  const Traffic traffic(8, 1);
  const MoeLayer layer = with_budget(traffic.path, needs_of(traffic.path).least());
  const Result first = traffic.call(layer, {0});
  const std::string bytes = test::read_bytes(traffic.path);
  ASSERT_EQ(::truncate(traffic.path.c_str(), static_cast<off_t>(bytes.size() / 2)), 0);
  EXPECT_THROW(traffic.call(layer, {7}), CheckpointError);
  std::ofstream(traffic.path, std::ios::binary | std::ios::in) << bytes;
  expect_same_bits(traffic.call(layer, {0}), first);
  const MoeLayer whole = MoeLayer::from_file(traffic.path);
  expect_same_bits(traffic.call(layer, {7}), traffic.call(whole, {7}));
}

std::int64_t resident_anonymous() {
  std::ifstream status("/proc/self/status");
  for (std::string line; std::getline(status, line);)
    if (line.compare(0, 8, "RssAnon:") == 0) return std::stoll(line.substr(8)) * 1024;
  return -1;
}

TEST(Budget, MemoryOfTheProcessKeepsToIt) {
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
  GTEST_SKIP() << "not tested: resident memory under sanitizers";
#endif
  BlockConfig config = block_config(32, 4, false);
  config.expert.input = config.expert.output = 512;
  config.expert.intermediate = 512;
  Rng rng(6);
  const TempFolder folder;
  const std::string path = write_layer(folder, config, random_tensors(rng, config, DType::kFloat32, {}));
  constexpr std::int64_t kWhole = std::int64_t{32} * 3 * 512 * 512 * 4;  // 100 MB
  constexpr std::int64_t kBudget = kWhole / 4, kSlack = std::int64_t{8} << 20;
  const Matrix x = Matrix::random(rng, 64, 512, DType::kFloat32);
  const auto growth = [&](const LayerOptions& options) {
    const std::int64_t before = resident_anonymous();
    const MoeLayer layer = MoeLayer::from_file(path, options);
    for (int i = 0; i < 3; ++i) run(layer, x, {});
    return resident_anonymous() - before;
  };
  LayerOptions read, budgeted;
  read.map_files = false;
  budgeted.memory_budget = static_cast<std::size_t>(kBudget);
  EXPECT_LE(growth(budgeted), kBudget + kSlack);
  EXPECT_GE(growth(read), kWhole);
}

TEST(Budget, WhatCannotKeepToItIsRefused) {
  Rng rng(7);
  const BlockConfig config = block_config(4, 2, false);
  const TempFolder folder;
  const BlockTensors tensors = random_tensors(rng, config, DType::kFloat32, {});
  const std::string path = write_layer(folder, config, tensors);
  LayerOptions options;
  options.memory_budget = 1000;
  EXPECT_THROW(MoeLayer(config, tensors, options), UnsupportedError);
  options.backend = "reference";
  EXPECT_THROW(MoeLayer::from_file(path, options), UnsupportedError);
  options.memory_budget = 0;
  EXPECT_EQ(MoeLayer::from_file(path, options).memory_needs().least(), 0u);
  // Everything fits: nothing is counted, the file is mapped.
  const MoeLayer all = with_budget(path, MoeLayer::from_file(path).packed_bytes());
  EXPECT_EQ(all.cache_counts().slots, 0);
  EXPECT_NE(all.explain().find("mapped"), std::string::npos);
  const std::size_t least = needs_of(path).least();
  try {
    with_budget(path, least - 1);
    ADD_FAILURE() << "a budget below what the layer needs was taken";
  } catch (const std::invalid_argument& error) {
    EXPECT_NE(std::string(error.what()).find("at least " + std::to_string(least) + " "), std::string::npos);
  }
  const MoeLayer some = with_budget(path, least);
  EXPECT_NE(some.explain().find("experts in memory: 1 of 4"), std::string::npos) << some.explain();
}

TEST(Budget, UnpackedWeightsAreThoseOfTheFile) {
  const Traffic traffic(6, 2);
  const MoeLayer whole = MoeLayer::from_file(traffic.path),
                 layer = with_budget(traffic.path, needs_of(traffic.path).least());
  for (std::int64_t e = 5; e >= 0; --e) {
    Matrix a(96, 40, DType::kFloat32), b(96, 40, DType::kFloat32);
    ExpertViews to_a, to_b;
    to_a.down = a.out();
    to_b.down = b.out();
    layer.unpack(e, to_a);
    whole.unpack(e, to_b);
    EXPECT_EQ(a.bytes(), b.bytes());
  }
}

}  // namespace
}  // namespace moekit::conformance
