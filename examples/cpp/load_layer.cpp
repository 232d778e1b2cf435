// SPDX-License-Identifier: Apache-2.0
// One MoE layer of a checkpoint: load_layer FOLDER [LAYER]. Prints what was chosen and where one token was sent.
#include <moekit/moekit.h>

#include <cmath>
#include <cstdlib>
#include <exception>
#include <iostream>
#include <vector>

int main(int argc, char** argv) try {
  if (argc < 2) throw std::invalid_argument("usage: moekit_load_layer FOLDER [LAYER]");
  const moekit::MoeLayer layer = moekit::load_layer(argv[1], argc > 2 ? std::atoll(argv[2]) : 0);
  const std::int64_t hidden = layer.config().expert.input, top_k = layer.config().router.top_k;

  std::vector<float> x(static_cast<std::size_t>(hidden)), y(x.size());
  for (std::size_t i = 0; i < x.size(); ++i) x[i] = std::sin(static_cast<float>(i));
  std::vector<std::int32_t> ids(static_cast<std::size_t>(top_k));
  std::vector<float> weights(ids.size());
  const moekit::RoutingView routing{1, top_k, ids.data(), weights.data()};
  const auto f32 = moekit::DType::kFloat32;
  layer.forward({x.data(), f32, 1, hidden, hidden, 1}, {y.data(), f32, 1, hidden, hidden}, {}, &routing);

  std::cout << layer.explain() << "\n";
  for (std::size_t j = 0; j < ids.size(); ++j) std::cout << "expert " << ids[j] << " weight " << weights[j] << "\n";
  std::cout << "y[0] = " << y[0] << "\n";
} catch (const std::exception& error) {
  std::cerr << error.what() << "\n";
  return 1;
}
