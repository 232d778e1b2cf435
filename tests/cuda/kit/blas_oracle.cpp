// SPDX-License-Identifier: Apache-2.0
#include "cuda/kit/blas_oracle.h"

#include <cstdlib>
#include <cstring>

#include "backends/cuda/blas_api.h"
#include "conformance/harness.h"

namespace moekit::kit {
namespace {

using namespace conformance;

BlockConfig block_config() {
  BlockConfig config = make_config(rules()[0], forms()[2], 8, {160, 96, 160});
  config.router.top_k = 2;
  return config;
}

// A layer whose products are done by `gemm`, a value of MOEKIT_CUDA_GEMM.
MoeLayer layer_by(const char* gemm, const BlockConfig& config, const BlockTensors& tensors, DType dtype) {
  setenv("MOEKIT_CUDA_GEMM", gemm, 1);
  MoeLayer layer = make_layer({"cuda", ""}, config, tensors, std::string(dtype_name(dtype)));
  unsetenv("MOEKIT_CUDA_GEMM");
  return layer;
}

Finding compare(const Mode& mode, const Result& own, const Result& blas) {
  Finding finding;
  finding.name = "layer in " + std::string(mode.name) + ", " + std::to_string(own.y.rows()) + " tokens, to cuBLAS";
  for (std::int64_t r = 0; r < own.y.rows(); ++r)
    for (std::int64_t c = 0; c < own.y.cols(); ++c) {
      ++finding.compared;
      finding.different += own.y.at(r, c) != blas.y.at(r, c) ? 1 : 0;
    }
  // cuBLAS' products of 16 bits are rounded to 16 bits where the own kernels keep float32: gates, ups and the experts'
  // outputs, about twice an eighth of the mode's bound each; the own layer rounds once more.
  finding.worst = nmse(own.y, blas.y, all_rows(own.y));
  finding.allowed = (mode.weights == DType::kFloat32 ? 1.0 : 6.0) * mode.nmse;
  finding.passed = own.ids == blas.ids && finding.worst <= finding.allowed;
  if (own.ids != blas.ids) finding.detail = "other experts were chosen";
  return finding;
}

}  // namespace

std::vector<Finding> run_blas_oracle(std::string* reason) {
  if (cuda::blas_api(reason) == nullptr) return {};
  std::vector<Finding> findings;
  const BlockConfig config = block_config();
  const Mode list[] = {{"f32", DType::kFloat32, DType::kFloat32, 1e-10},
                       {"bf16", DType::kBFloat16, DType::kBFloat16, 1e-5},
                       {"f16", DType::kFloat16, DType::kFloat16, 2e-7}};  // the suite's bounds (conformance/cases.h)
  for (const Mode& mode : list) {
    Rng rng(9);
    const BlockTensors tensors = random_tensors(rng, config, mode.weights);
    const MoeLayer own = layer_by("moekit", config, tensors, mode.weights),
                   blas = layer_by("cublas", config, tensors, mode.weights);
    for (const std::int64_t tokens : {3, 150}) {
      const Matrix x = Matrix::random(rng, tokens, config.expert.input, mode.data);
      findings.push_back(compare(mode, run(own, x, {}), run(blas, x, {})));
    }
  }
  return findings;
}

}  // namespace moekit::kit
