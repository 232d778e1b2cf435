// SPDX-License-Identifier: Apache-2.0
// Experts spread over devices, each rank a thread with its device, against one device with all of them.
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
  // y of each rank's tokens.
  static std::vector<Matrix> run_ranks(const BlockConfig& config, const BlockTensors& tensors, const Mode& mode,
                                       const std::vector<Matrix>& x) {
    const ascend::HcclRootInfo root = ascend::Communicator::root_info(0);
    const int ranks = static_cast<int>(x.size());
    std::vector<Matrix> y(x.size(), Matrix(x[0].rows(), config.expert.output, mode.data));
    std::vector<std::string> errors(x.size());
    std::vector<std::thread> threads;
    for (int rank = 0; rank < ranks; ++rank)
      threads.emplace_back([&, rank] {
        const auto at = static_cast<std::size_t>(rank);
        try {
          const ascend::Communicator group(root, ranks, rank, rank);
          ascend::ExpertParallelBlock block(
              config, tensors, uniform_formats(weight_format(std::string(dtype_name(mode.weights)))), group);
          const OnDevice in(x[at], 0, rank), out(x[at].rows(), config.expert.output, mode.data, 0, rank);
          for (int call = 0; call < 2; ++call) block.forward(in.view(), out.out());
          y[at] = out.read();
        } catch (const std::exception& error) {
          errors[at] = error.what();
        }
      });
    for (std::thread& thread : threads) thread.join();
    for (const std::string& error : errors) EXPECT_EQ(error, "");
    return y;
  }
  static void expect_one_device(const BlockConfig& config, const Mode& mode, const conformance::RouterParts& parts,
                                std::int64_t tokens) {
    Rng rng(1);
    const BlockTensors tensors = random_tensors(rng, config, mode.weights, parts);
    const MoeLayer whole = make_layer(kAscend, config, tensors, std::string(dtype_name(mode.weights)));
    std::vector<Matrix> x;
    for (int rank = 0; rank < GetParam(); ++rank)
      x.push_back(Matrix::random(rng, tokens, config.expert.input, mode.data));
    const std::vector<Matrix> y = run_ranks(config, tensors, mode, x);
    for (std::size_t rank = 0; rank < x.size(); ++rank) {
      const Matrix want = run(whole, x[rank], {}).y;
      EXPECT_LE(nmse(y[rank], want, all_rows(want)), nmse_bound(kAscend, mode)) << "rank " << rank;
    }
  }
};

TEST_P(ExpertParallel, IsOneDeviceWithAllExperts) {
  for (const Mode& mode : conformance::modes()) {
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
