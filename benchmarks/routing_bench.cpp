// SPDX-License-Identifier: Apache-2.0
// Routing without experts, and packing.
#include <memory>
#include <vector>

#include "backend/backend.h"
#include "formats/format.h"
#include "common.h"
#include "moekit/layer.h"

namespace moekit::bench {
namespace {

struct Block {
  AlignedBuffer weights;
  BlockConfig config;
  BlockTensors tensors;

  Block(std::int64_t experts, std::int64_t intermediate)
      : weights(random_values(static_cast<std::size_t>((experts * 3 * intermediate + experts) * kHidden * 2), 6)) {
    config.router.num_experts = experts;
    config.router.top_k = kTopK;
    config.router.renorm = Renorm::kAddEps;
    config.expert.input = config.expert.output = kHidden;
    config.expert.intermediate = intermediate;
    const std::byte* at = weights.data();
    const auto matrix = [&](std::int64_t rows, std::int64_t cols) {
      const TensorRef tensor = memory_tensor("weights", at, DType::kBFloat16, {rows, cols});
      at += rows * cols * 2;
      return tensor;
    };
    tensors.router.weight = matrix(experts, kHidden);
    for (std::int64_t e = 0; e < experts; ++e) {
      ExpertTensors expert;
      expert.gate = matrix_of(matrix(intermediate, kHidden));
      expert.up = matrix_of(matrix(intermediate, kHidden));
      expert.down = matrix_of(matrix(kHidden, intermediate));
      tensors.experts.push_back(expert);
    }
  }
};

void route(benchmark::State& state) {
  const std::int64_t tokens = state.range(0);
  const Block block(kExperts, 16);  // experts too small to matter: they are not run
  const LayerOptions options;
  const BlockFormats formats = uniform_formats(weight_format("bfloat16"));
  const Backend& backend = choose_backend(block.config, formats, options, nullptr);
  const auto packed = backend.pack(block.config, block.tensors, formats, options.device);
  const auto workspace = backend.new_workspace(*packed);
  const AlignedBuffer x = random_values(static_cast<std::size_t>(tokens * kHidden * 2), 7);
  std::vector<std::int32_t> ids(static_cast<std::size_t>(tokens * kTopK));
  std::vector<float> weights(ids.size());
  const Beside start = beside(DType::kBFloat16);
  for (auto _ : state)
    backend.route(*packed, {x.data(), DType::kBFloat16, tokens, kHidden, kHidden}, {},
                  {tokens, kTopK, ids.data(), weights.data()}, *workspace, nullptr);
  report(state, {static_cast<double>(kExperts * kHidden * 2), 2.0 * static_cast<double>(tokens * kExperts * kHidden)},
         start);
}

void pack(benchmark::State& state) {
  const Block block(16, kIntermediate);
  double bytes = 0.0;
  const Beside start = beside(DType::kBFloat16);
  for (auto _ : state) {
    const MoeLayer layer(block.config, block.tensors);
    bytes = static_cast<double>(layer.packed_bytes());
  }
  report(state, {bytes, 0.0}, start);
}

}  // namespace

void register_routing() {
  for (const int tokens : {1, 16, 256, 4096})
    benchmark::RegisterBenchmark("route/softmax:128/top:8/bfloat16", route)
        ->ArgName("T")
        ->Arg(tokens)
        ->UseRealTime()
        ->Unit(benchmark::kMicrosecond);
  benchmark::RegisterBenchmark("pack/16 experts/bfloat16", pack)->UseRealTime()->Unit(benchmark::kMillisecond);
}

}  // namespace moekit::bench
