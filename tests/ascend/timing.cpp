// SPDX-License-Identifier: Apache-2.0
// Times of a layer on the device, for scripts/ascend_first_run.sh: DeepSeek-V3's layer in bfloat16 (or a part of its
// experts: "experts=64"), x and y in device memory, one stream. Prints one JSON object. With "small" in small
// dimensions, to see over the double that it works; such times mean nothing.
#include <algorithm>
#include <chrono>
#include <cstdio>
#include <cstring>

#include "ascend/device_layer.h"
#include "backends/ascend/graph.h"

namespace {

using namespace moekit;
using namespace moekit::ascend_test;
using conformance::Matrix;
using conformance::random_tensors;
using conformance::Rng;
using Clock = std::chrono::steady_clock;

struct Times {
  double median_us, least_us;
};

template <class Work>
Times time(Stream& stream, int calls, const Work& work) {
  std::vector<double> times;
  for (int call = -3; call < calls; ++call) {  // three to warm up
    stream.synchronize();
    const auto start = Clock::now();
    work();
    stream.synchronize();
    if (call >= 0) times.push_back(std::chrono::duration<double, std::micro>(Clock::now() - start).count());
  }
  std::sort(times.begin(), times.end());
  return {times[times.size() / 2], times.front()};
}

// Weights that repeat one random matrix: values do not matter for times.
BlockTensors repeated_tensors(const BlockConfig& config) {
  Rng rng(1);
  BlockConfig one = config;
  one.router.num_experts = 1;
  one.router.n_group = one.router.topk_group = 1;
  one.router.top_k = 1;
  BlockTensors tensors = conformance::random_tensors(rng, one, DType::kBFloat16, {false, true});
  tensors.experts.resize(static_cast<std::size_t>(config.router.num_experts), tensors.experts.front());
  BlockConfig router = config;
  router.expert.intermediate = router.expert.output = 1;
  router.shared.count = 0;
  tensors.router = conformance::random_tensors(rng, router, DType::kBFloat16, {false, true}).router;
  return tensors;
}

}  // namespace

int main(int argc, char** argv) {
  bool small = false;
  BlockConfig config = deepseek_v32(7168, 2048);
  for (int i = 1; i < argc; ++i) {
    small = small || std::strcmp(argv[i], "small") == 0;
    if (std::strncmp(argv[i], "experts=", 8) == 0) config.router.num_experts = std::atoll(argv[i] + 8);
  }
  if (small) {
    config = deepseek_v32(64, 32);
    config.router.num_experts = 32;
  }
  if (const Support support = backend().available(); !support) {
    std::fprintf(stderr, "ascend: %s\n", support.reason.c_str());
    return 1;
  }
  try {
    const MoeLayer layer(config, repeated_tensors(config), {"bfloat16", kDevice, "auto"});
    const std::unique_ptr<Stream> stream = backend().new_stream(kDevice);
    const std::int64_t hidden = config.expert.input;
    std::printf("{\"hidden\": %lld, \"intermediate\": %lld, \"experts\": %lld, \"top_k\": %lld, \"runs\": [",
                static_cast<long long>(hidden), static_cast<long long>(config.expert.intermediate),
                static_cast<long long>(config.router.num_experts), static_cast<long long>(config.router.top_k));
    const char* separator = "";
    for (const std::int64_t tokens : {1, 8, 64, 512, 4096}) {
      if (small && tokens > 64) break;
      Rng rng(2);
      const OnDevice in(Matrix::random(rng, tokens, hidden, DType::kBFloat16)), out(tokens, hidden, DType::kBFloat16);
      const auto call = [&] { layer.forward(in.view(), out.out(), {}, nullptr, stream.get()); };
      const int calls = small ? 3 : 30;
      const Times eager = time(*stream, calls, call);
      std::printf("%s{\"tokens\": %lld, \"eager_us\": {\"median\": %.1f, \"least\": %.1f}", separator,
                  static_cast<long long>(tokens), eager.median_us, eager.least_us);
      if (ascend::Graph::available()) {
        const ascend::Graph graph(*stream, call);
        const Times replay = time(*stream, calls, [&] { graph.replay(*stream); });
        std::printf(", \"graph_us\": {\"median\": %.1f, \"least\": %.1f}", replay.median_us, replay.least_us);
        stream->synchronize();
      }
      std::printf("}");
      separator = ", ";
    }
    std::printf("]}\n");
  } catch (const std::exception& error) {
    std::fprintf(stderr, "%s\n", error.what());
    return 1;
  }
}
