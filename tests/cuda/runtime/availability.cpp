// SPDX-License-Identifier: Apache-2.0
// Prints whether the CUDA backend can be used here, and what comes of using it all the same. Never fails: a machine
// without CUDA is a machine like others.
#include <cstdio>
#include <exception>
#include <vector>

#include "backend/backend.h"
#include "moekit/error.h"
#include "moekit/layer.h"

namespace {

// One expert of one number.
void run_layer() {
  using namespace moekit;
  BlockConfig config;
  config.router.num_experts = config.router.top_k = 1;
  config.expert.input = config.expert.output = 1;
  config.expert.act = Activation::kLinear;
  const float one = 1.0f, x = 2.0f;
  float y = 0.0f;
  BlockTensors tensors;
  tensors.router.weight = memory_tensor("router", &one, DType::kFloat32, {1, 1});
  tensors.experts.resize(1);
  tensors.experts[0].down = matrix_of(memory_tensor("down", &one, DType::kFloat32, {1, 1}));
  LayerOptions options;
  options.device = parse_device("cuda:0");
  const MoeLayer layer(config, tensors, options);
  std::printf("%s", layer.explain().c_str());
  layer.forward_host({&x, DType::kFloat32, 1, 1, 1, 1}, {&y, DType::kFloat32, 1, 1, 1});
  std::printf("ran on cuda:0: %g\n", static_cast<double>(y));
}

}  // namespace

int main() {
  const moekit::Support available = moekit::backend_by_name("cuda").available();
  std::printf("cuda: %s\n", available ? "available" : available.reason.c_str());
  try {
    run_layer();
  } catch (const moekit::UnsupportedError& error) {
    std::printf("UnsupportedError: %s\n", error.what());
  } catch (const moekit::DeviceError& error) {
    std::printf("DeviceError: %s\n", error.what());
  }
  return 0;
}
