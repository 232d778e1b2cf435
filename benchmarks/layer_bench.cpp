// SPDX-License-Identifier: Apache-2.0
// One whole Qwen3-30B-A3B block in each weight format: routing, experts and weighted sum.
#include <algorithm>
#include <memory>
#include <numeric>
#include <random>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "common.h"
#include "core/float_convert.h"
#include "moekit/layer.h"

namespace moekit::bench {
namespace {

constexpr std::int64_t kMatrix = kIntermediate * kHidden;

struct Model {
  std::vector<float> router;  // [kExperts, kHidden]
  std::unique_ptr<MoeLayer> layer;
};

/// A weight format, and one option of a layer or none.
enum class With { kNothing, kInt8Activations, kReproducible };
using Variant = std::pair<std::string, With>;

/// The last one that was asked for is kept: benchmarks of a model follow each other.
const Model& model(const Variant& variant) {
  static Variant made;
  static Model m;
  if (m.layer != nullptr && made == variant) return m;
  made = variant;
  m = {};
  std::mt19937 random(1);
  std::normal_distribution<float> normal(0.0f, 0.02f);
  m.router.resize(kExperts * kHidden);
  for (float& w : m.router) w = normal(random);
  BlockConfig config;
  config.router.num_experts = kExperts;
  config.router.top_k = kTopK;
  config.router.renorm = Renorm::kAddEps;
  config.expert.input = config.expert.output = kHidden;
  config.expert.intermediate = kIntermediate;
  const AlignedBuffer weights = random_values(static_cast<std::size_t>(kExperts * 3 * kMatrix * 2), 3);
  BlockTensors tensors;
  tensors.router.weight = memory_tensor("router", m.router.data(), DType::kFloat32, {kExperts, kHidden});
  const auto tensor = [&](std::int64_t part, std::vector<std::int64_t> shape) {
    return memory_tensor("experts", weights.data() + part * kExperts * kMatrix * 2, DType::kBFloat16, std::move(shape));
  };
  const TensorRef gate = tensor(0, {kExperts, kIntermediate, kHidden}),
                  up = tensor(1, {kExperts, kIntermediate, kHidden}),
                  down = tensor(2, {kExperts, kHidden, kIntermediate});
  for (std::int64_t e = 0; e < kExperts; ++e) {
    ExpertTensors expert;
    expert.gate = stacked_matrix(gate, e);
    expert.up = stacked_matrix(up, e);
    expert.down = stacked_matrix(down, e);
    tensors.experts.push_back(expert);
  }
  LayerOptions options;
  options.dtype = variant.first;
  options.int8_activations = variant.second == With::kInt8Activations;
  options.reproducible = variant.second == With::kReproducible;
  m.layer = std::make_unique<MoeLayer>(config, tensors, options);
  return m;
}

/// Experts that the tokens of a batch should go to. Up to 16 tokens in all rotate through every expert, so that none is
/// met again before all others: a few tokens drawn at random would meet experts that are still in the cache.
std::vector<std::int64_t> wanted_experts(std::int64_t tokens, std::mt19937& random, std::vector<std::int64_t>& deck) {
  std::vector<std::int64_t> wanted, all(kExperts);
  std::iota(all.begin(), all.end(), 0);
  for (std::int64_t t = 0; t < tokens; ++t) {
    if (tokens * kTopK <= kExperts / 4) {
      if (deck.empty()) deck = all;
      wanted.insert(wanted.end(), deck.end() - kTopK, deck.end());
      deck.resize(deck.size() - kTopK);
    } else {
      std::shuffle(all.begin(), all.end(), random);
      wanted.insert(wanted.end(), all.begin(), all.begin() + kTopK);
    }
  }
  return wanted;
}

/// x [tokens, kHidden] in bfloat16: noise, and the router's rows of the wanted experts, which lifts their logits.
std::vector<std::uint16_t> steered_rows(const std::vector<float>& router, const std::vector<std::int64_t>& wanted,
                                        std::mt19937& random) {
  constexpr float kLift = 8.0f;  // logits gain 8 * 2048 * 0.02^2 = 6.6 over noise of deviation 0.9
  std::normal_distribution<float> normal;
  std::vector<std::uint16_t> rows(wanted.size() / kTopK * kHidden);
  for (std::size_t i = 0; i < rows.size(); ++i) {
    const std::size_t token = i / kHidden, column = i % kHidden;
    float value = normal(random);
    for (std::size_t j = 0; j < kTopK; ++j)
      value += kLift * router[static_cast<std::size_t>(wanted[token * kTopK + j]) * kHidden + column];
    rows[i] = float_to_bf16(value);
  }
  return rows;
}

void run(benchmark::State& state, const Variant& variant) {
  const std::int64_t tokens = state.range(0);
  const Model& made = model(variant);
  const MoeLayer& layer = *made.layer;
  std::mt19937 random(7);
  std::vector<std::int64_t> deck;
  std::vector<std::vector<std::uint16_t>> batches;
  double experts = 0.0;
  const std::int64_t count = tokens * kTopK <= kExperts / 4 ? kExperts / (tokens * kTopK) : tokens > 1024 ? 2 : 8;
  std::vector<std::uint16_t> y(static_cast<std::size_t>(tokens * kHidden));
  const MutableMatrixView out{y.data(), DType::kBFloat16, tokens, kHidden, kHidden};
  std::vector<std::int32_t> ids(static_cast<std::size_t>(tokens * kTopK));
  std::vector<float> weights(ids.size());
  const RoutingView routing{tokens, kTopK, ids.data(), weights.data()};
  for (std::int64_t b = 0; b < count; ++b) {
    batches.push_back(steered_rows(made.router, wanted_experts(tokens, random, deck), random));
    layer.forward({batches.back().data(), DType::kBFloat16, tokens, kHidden, kHidden}, out, {}, &routing);
    experts += static_cast<double>(std::set<std::int32_t>(ids.begin(), ids.end()).size()) / static_cast<double>(count);
  }
  std::size_t batch = 0;
  const Beside start = beside(DType::kBFloat16);
  for (auto _ : state) {
    layer.forward({batches[batch].data(), DType::kBFloat16, tokens, kHidden, kHidden}, out);
    batch = (batch + 1) % batches.size();
  }
  report(state,
         {experts * static_cast<double>(layer.memory_needs().expert) + static_cast<double>(kExperts * kHidden * 4),
          2.0 * static_cast<double>(tokens * kTopK * 3 * kMatrix)},
         start);
  state.counters["experts"] = experts;
}

}  // namespace

void register_layer() {
  const auto add = [](const char* group, const char* dtype, With with) {
    for (const int tokens : {1, 4, 16, 64, 256, 1024, 4096})
      benchmark::RegisterBenchmark((std::string(group) + "/qwen3-30b-a3b/" + dtype).c_str(), run, Variant(dtype, with))
          ->ArgName("T")
          ->Arg(tokens)
          ->UseRealTime()
          ->Unit(benchmark::kMillisecond);
  };
  for (const char* dtype : {"bfloat16", "bf16z", "int8", "int4", "fp8", "mxfp4"}) {
    add("layer", dtype, With::kNothing);
    add("layer_reproducible", dtype, With::kReproducible);
  }
  for (const char* dtype : {"int8", "int4", "mxfp4"}) add("layer_int8_activations", dtype, With::kInt8Activations);
}

}  // namespace moekit::bench
