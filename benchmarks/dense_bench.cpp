// SPDX-License-Identifier: Apache-2.0
// The dense softmax module.
#include <string>

#include "common.h"
#include "moekit/moe.h"

namespace moekit::bench {
namespace {

struct Shape {
  std::int64_t experts, input, output, batch;
};
constexpr Shape kShapes[] = {
    {4, 10, 5, 32}, {8, 512, 512, 1}, {8, 512, 512, 64}, {8, 512, 512, 1024}, {64, 1024, 1024, 256}};

void run(benchmark::State& state, const Shape& shape, DType dtype) {
  const auto size = static_cast<std::int64_t>(dtype_size(dtype));
  const std::int64_t matrix = shape.input * shape.output;
  const AlignedBuffer weights = random_values(
      static_cast<std::size_t>((shape.experts * (matrix + shape.output) + shape.experts * (shape.input + 1)) * size),
      4);
  const AlignedBuffer x = random_values(static_cast<std::size_t>(shape.batch * shape.input * size), 5);
  AlignedBuffer y(static_cast<std::size_t>(shape.batch * shape.output * size));
  const std::byte* at = weights.data();
  const auto take = [&](std::int64_t count) {
    const std::byte* piece = at;
    at += count * size;
    return piece;
  };
  MoE::Parameters parameters;
  parameters.dtype = dtype;
  for (std::int64_t e = 0; e < shape.experts; ++e) {
    parameters.expert_weights.push_back(take(matrix));
    parameters.expert_biases.push_back(take(shape.output));
  }
  parameters.gate_weight = take(shape.experts * shape.input);
  parameters.gate_bias = take(shape.experts);
  const MoE moe(shape.experts, shape.input, shape.output, parameters);
  const TimePoint start = now();
  for (auto _ : state)
    moe.forward({x.data(), dtype, shape.batch, shape.input, shape.input},
                {y.data(), dtype, shape.batch, shape.output, shape.output});
  const auto elements = static_cast<double>(shape.experts * matrix);
  report(state, {elements * static_cast<double>(size), 2.0 * elements * static_cast<double>(shape.batch), dtype, ""},
         start);
}

}  // namespace

void register_dense() {
  for (const DType dtype : {DType::kFloat32, DType::kBFloat16})
    for (const Shape& s : kShapes) {
      const std::string name = "dense/" + std::string(dtype_name(dtype)) + "/" + std::to_string(s.experts) + "x" +
                               std::to_string(s.input) + "x" + std::to_string(s.output) +
                               "/batch:" + std::to_string(s.batch);
      benchmark::RegisterBenchmark(name.c_str(), [s, dtype](benchmark::State& state) { run(state, s, dtype); })
          ->UseRealTime()
          ->Unit(benchmark::kMicrosecond);
    }
}

}  // namespace moekit::bench
