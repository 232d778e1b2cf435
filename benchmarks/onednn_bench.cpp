// SPDX-License-Identifier: Apache-2.0
// oneDNN's bare matmul as a peer for the products inside an expert: no gather, activation or weighted sum. Weights are
// in the layout that oneDNN asks for, experts in turn come from memory.
#include <oneapi/dnnl/dnnl.hpp>

#include <string>
#include <vector>

#include "common.h"

namespace moekit::bench {
namespace {

using dnnl::memory;

dnnl::matmul::primitive_desc describe(const dnnl::engine& engine, const memory::desc& a, const memory::desc& b,
                                      const memory::desc& c) {
#if DNNL_VERSION_MAJOR >= 3
  return {engine, a, b, c};
#else
  return {dnnl::matmul::desc(a, b, c), engine};
#endif
}

void run(benchmark::State& state, DType dtype, std::int64_t m, std::int64_t k, std::int64_t n) {
  const auto type = dtype == DType::kBFloat16 ? memory::data_type::bf16 : memory::data_type::f32;
  const dnnl::engine engine(dnnl::engine::kind::cpu, 0);
  dnnl::stream stream(engine);
  const memory::desc a_desc({m, k}, type, memory::format_tag::ab), c_desc({m, n}, type, memory::format_tag::ab),
      any({k, n}, type, memory::format_tag::any);
  const auto primitive = describe(engine, a_desc, any, c_desc);
  const std::size_t expert = primitive.weights_desc().get_size();
  const AlignedBuffer& weights = cold_weights();  // any values will do, in any layout
  const AlignedBuffer a = random_values(a_desc.get_size(), 8);
  const AlignedBuffer c = random_values(c_desc.get_size(), 9);
  const memory a_memory(a_desc, engine, a.data()), c_memory(c_desc, engine, c.data());
  std::vector<memory> experts;
  for (std::size_t e = 0; e < weights.bytes() / expert; ++e)
    experts.emplace_back(primitive.weights_desc(), engine, weights.data() + e * expert);
  const dnnl::matmul matmul(primitive);
  std::size_t at = 0;
  const Beside start = beside(dtype);
  for (auto _ : state) {
    for (int i = 0; i < kTopK; ++i, at = (at + 1) % experts.size())
      matmul.execute(stream, {{DNNL_ARG_SRC, a_memory}, {DNNL_ARG_WEIGHTS, experts[at]}, {DNNL_ARG_DST, c_memory}});
    stream.wait();
  }
  report(state,
         {static_cast<double>(kTopK) * static_cast<double>(expert), 2.0 * static_cast<double>(kTopK * m * k * n)},
         start);
  state.SetLabel(primitive.impl_info_str());
}

// The products of a dense softmax module alone: gate and all experts as one matrix, no bias, softmax or weighted sum. A
// module through oneDNN takes longer than this.
void run_dense(benchmark::State& state, DType dtype, const DenseShape& shape) {
  const auto type = dtype == DType::kBFloat16 ? memory::data_type::bf16 : memory::data_type::f32;
  const std::int64_t columns = shape.experts * (1 + shape.output);
  const dnnl::engine engine(dnnl::engine::kind::cpu, 0);
  dnnl::stream stream(engine);
  const memory::desc a_desc({shape.batch, shape.input}, type, memory::format_tag::ab),
      c_desc({shape.batch, columns}, memory::data_type::f32, memory::format_tag::ab),
      any({shape.input, columns}, type, memory::format_tag::any);
  const auto primitive = describe(engine, a_desc, any, c_desc);
  const AlignedBuffer a = random_values(a_desc.get_size(), 8), c = random_values(c_desc.get_size(), 9),
                      b = random_values(primitive.weights_desc().get_size(), 10);
  const memory a_memory(a_desc, engine, a.data()), b_memory(primitive.weights_desc(), engine, b.data()),
      c_memory(c_desc, engine, c.data());
  const dnnl::matmul matmul(primitive);
  const Beside start = beside(dtype);
  for (auto _ : state) {
    matmul.execute(stream, {{DNNL_ARG_SRC, a_memory}, {DNNL_ARG_WEIGHTS, b_memory}, {DNNL_ARG_DST, c_memory}});
    stream.wait();
  }
  const auto elements = static_cast<double>(shape.input * columns);
  report(state, {elements * static_cast<double>(dtype_size(dtype)), 2.0 * elements * static_cast<double>(shape.batch)},
         start);
  state.SetLabel(primitive.impl_info_str());
}

}  // namespace

void register_onednn() {
  for (const DType dtype : {DType::kFloat32, DType::kBFloat16})
    for (const bool up : {true, false})
      for (const std::int64_t rows : {1, 4, 16, 64, 256}) {
        const std::string name =
            "onednn/" + std::string(dtype_name(dtype)) + (up ? "/up/rows:" : "/down/rows:") + std::to_string(rows);
        benchmark::RegisterBenchmark(name.c_str(),
                                     [=](benchmark::State& state) {
                                       run(state, dtype, rows, up ? kHidden : kIntermediate,
                                           up ? 2 * kIntermediate : kHidden);
                                     })
            ->UseRealTime()
            ->Unit(benchmark::kMicrosecond);
      }
  for (const DType dtype : {DType::kFloat32, DType::kBFloat16})
    for (const DenseShape& shape : kDenseShapes)
      benchmark::RegisterBenchmark(("onednn/dense/" + dense_name(dtype, shape)).c_str(),
                                   [=](benchmark::State& state) { run_dense(state, dtype, shape); })
          ->UseRealTime()
          ->Unit(benchmark::kMicrosecond);
}

}  // namespace moekit::bench
