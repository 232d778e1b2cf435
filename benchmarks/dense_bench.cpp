// SPDX-License-Identifier: Apache-2.0
// The dense softmax module.
#include <string>

#include "common.h"
#include "moekit/moe.h"

namespace moekit::bench {
namespace {

void run(benchmark::State& state, const DenseShape& shape, DType dtype) {
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
  const Beside start = beside(dtype);
  for (auto _ : state)
    moe.forward({x.data(), dtype, shape.batch, shape.input, shape.input},
                {y.data(), dtype, shape.batch, shape.output, shape.output});
  const auto elements = static_cast<double>(shape.experts * matrix);
  report(state, {elements * static_cast<double>(size), 2.0 * elements * static_cast<double>(shape.batch)}, start);
}

}  // namespace

std::string dense_name(DType dtype, const DenseShape& shape) {
  return std::string(dtype_name(dtype)) + "/" + std::to_string(shape.experts) + "x" + std::to_string(shape.input) +
         "x" + std::to_string(shape.output) + "/batch:" + std::to_string(shape.batch);
}

void register_dense() {
  for (const DType dtype : {DType::kFloat32, DType::kBFloat16})
    for (const DenseShape& shape : kDenseShapes)
      benchmark::RegisterBenchmark(("dense/" + dense_name(dtype, shape)).c_str(),
                                   [shape, dtype](benchmark::State& state) { run(state, shape, dtype); })
          ->UseRealTime()
          ->Unit(benchmark::kMicrosecond);
}

}  // namespace moekit::bench
