// SPDX-License-Identifier: Apache-2.0
// Experts spread over devices, each rank a thread with its device, against one device with all of them.
#include <cstdlib>
#include <thread>

#include "ascend/device_layer.h"
#include "backends/ascend/expert_parallel.h"
#include "formats/format.h"
#include "moekit/error.h"

namespace moekit::ascend_test {
namespace {

using conformance::Matrix;
using conformance::Mode;
using conformance::Rng;

struct ExpertParallel : OnAscend, testing::WithParamInterface<int> {
  void SetUp() override {
    OnAscend::SetUp();
    if (!ascend::Communicator::available()) GTEST_SKIP() << "not tested: expert parallelism, libhccl.so is not there";
    if (static_cast<int>(ascend::api().devices) < GetParam())
      GTEST_SKIP() << "not tested: " << GetParam() << " ranks on " << ascend::api().devices << " devices";
  }
  struct Outcome {
    std::vector<Matrix> y;  // of each rank's tokens
    std::string explained;  // by the first rank
  };
  static Outcome run_ranks(const BlockConfig& config, const BlockTensors& tensors, const BlockFormats& formats,
                           const std::vector<Matrix>& x) {
    const ascend::HcclRootInfo root = ascend::Communicator::root_info(0);
    const int ranks = static_cast<int>(x.size());
    Outcome outcome{std::vector<Matrix>(x.size(), Matrix(x[0].rows(), config.expert.output, x[0].dtype())), ""};
    std::vector<std::string> errors(x.size());
    std::vector<std::thread> threads;
    for (int rank = 0; rank < ranks; ++rank)
      threads.emplace_back([&, rank] {
        const auto at = static_cast<std::size_t>(rank);
        try {
          const ascend::Communicator group(root, ranks, rank, rank);
          ascend::ExpertParallelBlock block(config, tensors, formats, group);
          const OnDevice in(x[at], 0, rank), out(x[at].rows(), config.expert.output, x[at].dtype(), 0, rank);
          for (int call = 0; call < 2; ++call) block.forward(in.view(), out.out());
          outcome.y[at] = out.read();
          if (rank == 0) outcome.explained = block.explain();
        } catch (const std::exception& error) {
          errors[at] = error.what();
        }
      });
    for (std::thread& thread : threads) thread.join();
    for (const std::string& error : errors) EXPECT_EQ(error, "");
    return outcome;
  }
  static BlockFormats formats_of(const Mode& mode) {
    return uniform_formats(weight_format(std::string(dtype_name(mode.weights))));
  }
  // Answers what the block explains.
  static std::string expect_one_device(const BlockConfig& config, const BlockFormats& formats, const Mode& mode,
                                       const conformance::RouterParts& parts, std::int64_t tokens) {
    Rng rng(1);
    const BlockTensors tensors = random_tensors(rng, config, mode.weights, parts);
    LayerOptions options;
    options.dtype = std::string(formats.routed.down.name);
    options.device = kDevice;
    options.int8_activations = formats.int8_activations;
    const MoeLayer whole(config, tensors, options);
    std::vector<Matrix> x;
    for (int rank = 0; rank < GetParam(); ++rank)
      x.push_back(Matrix::random(rng, tokens, config.expert.input, mode.data));
    const Outcome outcome = run_ranks(config, tensors, formats, x);
    for (std::size_t rank = 0; rank < x.size(); ++rank) {
      const Matrix want = run(whole, x[rank], {}).y;
      EXPECT_LE(nmse(outcome.y[rank], want, all_rows(want)), nmse_bound(kAscend, mode)) << "rank " << rank;
    }
    return outcome.explained;
  }
  static std::string expect_one_device(const BlockConfig& config, const Mode& mode,
                                       const conformance::RouterParts& parts, std::int64_t tokens) {
    return expect_one_device(config, formats_of(mode), mode, parts, tokens);
  }
};

// Rows of a size that the fused operators of the chip take.
BlockConfig fused_block() {
  const auto name = ascend::api().rt.aclrtGetSocName;
  const bool a3 = name != nullptr && std::string(name()).rfind("Ascend910_93", 0) == 0;
  BlockConfig config = small_block();
  config.expert.input = config.expert.output = config.shared.expert.input = config.shared.expert.output =
      a3 ? 1024 : 64;
  return config;
}

std::uint64_t dispatches() { return control() ? control().calls("aclnnMoeDistributeDispatchV2") : 0; }

TEST_P(ExpertParallel, IsOneDeviceWithAllExperts) {
  for (const Mode& mode : conformance::modes(kAscend)) {
    SCOPED_TRACE(mode.name);
    for (const std::int64_t tokens : {1, 21}) expect_one_device(small_block(), mode, {false, true}, tokens);
  }
}

TEST_P(ExpertParallel, IdentityExpertsWeightedInputsAndHostRouting) {
  BlockConfig config = small_block();
  config.router = {};
  config.router.num_experts = 8;
  config.router.num_identity = 4;
  config.router.top_k = 3;
  config.router.score = Score::kSqrtSoftplus;
  expect_one_device(config, conformance::modes()[0], {}, 9);
  config.router.score = Score::kSoftmax;
  config.router.apply_at = ApplyAt::kInput;
  expect_one_device(config, conformance::modes()[2], {}, 9);
}

TEST_P(ExpertParallel, FusedOperatorsGiveWhatOneDeviceGives) {
  if (!ascend::api().op.dispatch || GetParam() < 2) GTEST_SKIP() << "not tested: fused dispatch and combine";
  for (const Mode& mode : conformance::modes(kAscend)) {
    SCOPED_TRACE(mode.name);
    const std::uint64_t before = dispatches();
    const std::string text = expect_one_device(fused_block(), mode, {false, true}, 21);
    const bool fused = mode.weights != DType::kFloat32;
    if (control()) {
      EXPECT_EQ(dispatches() - before, fused ? 2u * static_cast<unsigned>(GetParam()) : 0u);
    }
    EXPECT_NE(
        text.find(fused ? "rows travel by aclnnMoeDistributeDispatchV2 and CombineV2"
                        : "rows travel by HcclAllGather and HcclReduceScatter (fused operators: rows are float32)"),
        std::string::npos)
        << text;
  }
}

TEST_P(ExpertParallel, FusedOperatorsQuantiseOnTheWay) {
  if (!ascend::api().op.dispatch || GetParam() < 2) GTEST_SKIP() << "not tested: fused dispatch and combine";
  BlockFormats formats = uniform_formats(weight_format("int8"));
  formats.int8_activations = true;
  const std::string text = expect_one_device(fused_block(), formats, conformance::modes()[2], {false, true}, 9);
  EXPECT_NE(text.find("A8W8"), std::string::npos) << text;
  EXPECT_NE(text.find("aclnnMoeDistributeDispatchV2 and CombineV2"), std::string::npos) << text;
}

TEST_P(ExpertParallel, LongBatchesAndSmallBuffersTakeTheGeneralWay) {
  if (!ascend::api().op.dispatch || GetParam() != 2) GTEST_SKIP() << "not tested: fused dispatch and combine";
  const Mode& mode = conformance::modes()[2];
  const std::uint64_t before = dispatches();
  expect_one_device(fused_block(), mode, {false, true}, 600);
  EXPECT_EQ(dispatches(), before);
  setenv("HCCL_BUFFSIZE", "1", 1);
  const std::string text = expect_one_device(fused_block(), mode, {false, true}, 3);
  unsetenv("HCCL_BUFFSIZE");
  EXPECT_EQ(dispatches(), before);
  EXPECT_NE(text.find("(fused operators: the group's buffer (HCCL_BUFFSIZE) is too small"), std::string::npos) << text;
}

INSTANTIATE_TEST_SUITE_P(Ranks, ExpertParallel, testing::Values(1, 2, 4));

TEST_F(OnAscend, ExpertParallelDeclinesWhatDoesNotDivide) {
  if (!ascend::Communicator::available()) GTEST_SKIP() << "not tested: expert parallelism, libhccl.so is not there";
  BlockConfig config = small_block();
  Rng rng(2);
  config.router.source = RouterSource::kExternal;
  const BlockTensors tensors = conformance::random_tensors(rng, config, DType::kFloat32);
  const ascend::Communicator group(ascend::Communicator::root_info(0), 1, 0, 0);
  EXPECT_THROW(ascend::ExpertParallelBlock(config, tensors, uniform_formats(weight_format("float32")), group),
               UnsupportedError);
  EXPECT_THROW(ascend::Communicator(ascend::HcclRootInfo{}, 2, 2, 0), std::invalid_argument);
}

}  // namespace
}  // namespace moekit::ascend_test
