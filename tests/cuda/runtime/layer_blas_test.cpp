// SPDX-License-Identifier: Apache-2.0
// Layers whose products cuBLAS does (MOEKIT_CUDA_GEMM=cublas), over the stand-in's: results, what is asked of cuBLAS,
// failures of its calls, and what cannot be done by it.
#include <cstdlib>
#include <optional>

#include "cuda/runtime/blas_api.h"
#include "cuda/runtime/layer_session.h"

namespace moekit::standin {
namespace {

constexpr const char* kGrouped = "cublasGemmGroupedBatchedEx";

class LayerBlas : public LayerSession {
 protected:
  void SetUp() override {
    LayerSession::SetUp();
    setenv("MOEKIT_CUDA_GEMM", "cublas", 1);
  }
  void TearDown() override {
    unsetenv("MOEKIT_CUDA_GEMM");
    LayerSession::TearDown();
  }
};

// Gates, ups and experts' outputs are rounded to 16 bits where the own kernels keep float32; y once more.
double bound_of(const Mode& mode) { return (mode.weights == DType::kFloat32 ? 1.0 : 8.0) * mode.nmse; }

TEST_F(LayerBlas, MatchesTheOracle) {
  for (const char* name : {"f32", "bf16", "f16"})
    for (const conformance::Form& form : conformance::forms()) {
      const Mode& mode = mode_named(name);
      SCOPED_TRACE(std::string(mode.name) + ", " + form.name);
      const BlockConfig config = conformance::make_config(conformance::rules()[0], form, 5, {40, 24, 56});
      const conformance::Block block({"cuda", ""}, config, mode, {}, 3);
      EXPECT_NE(block.layer.explain().find("cuBLAS' grouped product"), std::string::npos) << block.layer.explain();
      const std::uint64_t before = calls(kGrouped);
      const Matrix x = random_x(config, 19, mode);
      const Result got = conformance::run(block.layer, x, {}), want = conformance::run_oracle(block, x, {});
      EXPECT_GT(calls(kGrouped), before);
      const std::vector<std::int64_t> rows = conformance::agreeing_rows(block, x, {}, got, want);
      EXPECT_LE(conformance::nmse(got.y, want.y, rows), bound_of(mode));
    }
}

TEST_F(LayerBlas, GivesWeightsBackAsTheyWere) {
  const BlockConfig config = plain_config();
  const Mode& mode = mode_named("bf16");
  Rng rng(4);
  const BlockTensors tensors = conformance::random_tensors(rng, config, mode.weights);
  const MoeLayer layer = make(config, tensors, mode);
  Matrix down(config.expert.output, config.expert.intermediate, mode.weights);
  layer.unpack(1, {{}, {}, down.out()});
  ByteScratch scratch;
  const MatrixView want = tensors.experts[1].down.read(scratch);
  EXPECT_EQ(std::memcmp(down.bytes().data(), want.data, down.bytes().size()), 0);
}

TEST_F(LayerBlas, FailuresAreTypedAndLeaveTheLayerUsable) {
  const BlockConfig config = rich_config();
  const Mode& mode = mode_named("bf16");
  const Matrix x = random_x(config, 9, mode);
  const MoeLayer warm = make(config, mode);
  const std::vector<std::byte> want = bits(conformance::run(warm, x, {}));
  int seen = 0;
  for (const char* function : {"cublasCreate_v2", "cublasSetStream_v2", kGrouped}) {
    for (int nth = 1; nth <= 4; ++nth) {
      const MoeLayer layer = make(config, mode);
      fail_call(function, nth, kBlas_EXECUTION_FAILED);
      try {
        conformance::run(layer, x, {});
      } catch (const DeviceError& error) {
        ++seen;
        for (const char* part : {function, "CUBLAS_STATUS_EXECUTION_FAILED", "(13)"})
          EXPECT_NE(std::string(error.what()).find(part), std::string::npos) << error.what();
      }
      clear_failures();
      EXPECT_EQ(bits(conformance::run(layer, x, {})), want) << function << " " << nth;
    }
  }
  EXPECT_GE(seen, 6);  // one handle; of routed and shared experts each a stream and three products, two calls at least
}

TEST_F(LayerBlas, CannotBeCaptured) {
  const BlockConfig config = plain_config();
  const Mode& mode = mode_named("f32");
  const MoeLayer layer = make(config, mode);
  const auto stream = backend_by_name("cuda").new_stream({DeviceKind::kCuda, 0});
  OnDevice data(config, 5, mode.data);
  data.set(random_x(config, 5, mode));
  layer.forward(data.x(), data.y(), {}, nullptr, stream.get());
  stream->synchronize();
  const std::vector<std::byte> want = data.download();
  cuda::Graph graph = nullptr;
  {
    const Current current(0);
    ASSERT_EQ(cuda::cuStreamBeginCapture_v2(native(*stream), 0), SUCCESS);
    try {
      layer.forward(data.x(), data.y(), {}, nullptr, stream.get());
      ADD_FAILURE() << "no error";
    } catch (const DeviceError& error) {
      EXPECT_NE(std::string(error.what()).find("under capture"), std::string::npos) << error.what();
    }
    ASSERT_EQ(cuda::cuStreamEndCapture(native(*stream), &graph), SUCCESS);
    ASSERT_EQ(cuda::cuGraphDestroy(graph), SUCCESS);
  }
  layer.forward(data.x(), data.y(), {}, nullptr, stream.get());
  stream->synchronize();
  EXPECT_EQ(data.download(), want);
}

TEST_F(LayerBlas, QuantisedWeightsStayWithTheOwnKernels) {
  const BlockConfig config =
      conformance::make_config(conformance::rules()[0], conformance::forms()[2], 4, {64, 32, 64});
  Rng rng(4);
  const BlockTensors tensors = conformance::random_tensors(rng, config, DType::kBFloat16);
  LayerOptions options;
  options.dtype = "int4";
  options.device = {DeviceKind::kCuda, 0};
  const MoeLayer layer(config, tensors, options);
  const std::string text = layer.explain();
  for (const char* part : {"mma.sync", "cuBLAS, asked for by MOEKIT_CUDA_GEMM, is not used", "int4"})
    EXPECT_NE(text.find(part), std::string::npos) << text;
  const std::uint64_t before = calls(kGrouped);
  conformance::run(layer, random_x(config, 3, mode_named("bf16")), {});
  EXPECT_EQ(calls(kGrouped), before);
}

TEST_F(LayerBlas, AnotherNameIsRefused) {
  setenv("MOEKIT_CUDA_GEMM", "cutlass", 1);
  try {
    make(plain_config(), mode_named("f32"));
    ADD_FAILURE() << "no error";
  } catch (const std::invalid_argument& error) {
    EXPECT_NE(std::string(error.what()).find("'cutlass' is not one of moekit, cublas"), std::string::npos)
        << error.what();
  }
}

}  // namespace
}  // namespace moekit::standin
