// SPDX-License-Identifier: Apache-2.0
// Layers on the device: what runs, what explain() says, what declines.
#include "ascend/device_layer.h"
#include "backends/ascend/api.h"
#include "formats/format.h"
#include "moekit/error.h"
#include "moekit/moe.h"

namespace moekit::ascend_test {
namespace {

using conformance::Block;
using conformance::Matrix;
using conformance::Mode;
using conformance::Result;
using conformance::Rng;

struct Layer : OnAscend {
  static void expect_oracle(const Block& block, std::int64_t tokens, std::uint64_t seed) {
    Rng rng(seed);
    const Matrix x = Matrix::random(rng, tokens, block.config.expert.input, block.mode.data);
    const Result got = run(block.layer, x, {}), want = run_oracle(block, x, {});
    const auto rows = agreeing_rows(block, x, {}, got, want);
    EXPECT_GE(rows.size() * 10, static_cast<std::size_t>(tokens) * 9);
    EXPECT_LE(nmse(got.y, want.y, rows), nmse_bound(kAscend, block.mode));
  }
};

TEST_F(Layer, DeepSeekV32Exp) {
  for (const Mode& mode : conformance::modes(kAscend)) {
    SCOPED_TRACE(mode.name);
    const Block block(kAscend, deepseek_v32(), mode, kBiased, 1);
    for (const std::int64_t tokens : {1, 7, 65}) expect_oracle(block, tokens, static_cast<std::uint64_t>(tokens));
    const std::string text = block.layer.explain();
    if (ascend::api().op.gating_top_k) {
      EXPECT_NE(text.find("routes on the device: aclnnMoeGatingTopK"), std::string::npos) << text;
    }
    EXPECT_NE(text.find("sigmoid over 256"), std::string::npos) << text;
  }
}

TEST_F(Layer, ExplainNamesTheOperatorsAndTheirSubstitutes) {
  const Block block(kAscend, small_block(), conformance::modes()[2], kBiased, 2);
  const std::string text = block.layer.explain();
  const auto& op = ascend::api().op;
  EXPECT_NE(text.find("backend: ascend on ascend:0"), std::string::npos) << text;
  EXPECT_NE(text.find(op.grouped_matmul_v5 ? "aclnnGroupedMatmulV5," : "aclnnGroupedMatmulV4 (V5 is missing)"),
            std::string::npos)
      << text;
  EXPECT_NE(text.find(op.init_routing_v3 ? "aclnnMoeInitRoutingV3," : "aclnnMoeInitRoutingV2 (V3 is missing)"),
            std::string::npos)
      << text;
  EXPECT_NE(text.find(op.swiglu ? "activation by aclnnSwiGlu" : "elementwise operators"), std::string::npos) << text;
  EXPECT_EQ(text.find("on the host") == std::string::npos, bool(op.gating_top_k)) << text;
}

TEST_F(Layer, ExplainSaysWhatTheHostRoutes) {
  BlockConfig config = small_block();
  config.router.score = Score::kSqrtSoftplus;
  const Block block(kAscend, config, conformance::modes()[0], kBiased, 3);
  const std::string text = block.layer.explain();
  EXPECT_NE(text.find("routes on the host (sqrt(softplus)"), std::string::npos) << text;
  expect_oracle(block, 20, 4);
}

TEST_F(Layer, DeclinesWhatTheOperatorsCannotTake) {
  const auto reason = [](const BlockConfig& config, const char* dtype) {
    return backend().supports(config, uniform_formats(weight_format(dtype))).reason;
  };
  BlockConfig wide = small_block();
  wide.expert.intermediate = 40000;
  EXPECT_NE(reason(wide, "bfloat16").find("80000"), std::string::npos) << reason(wide, "bfloat16");
  EXPECT_NE(reason(small_block(), "q4_k").find("q4_k"), std::string::npos) << reason(small_block(), "q4_k");
  BlockConfig many = small_block();
  many.router.num_experts = 1025;
  many.router.group_rule = GroupRule::kNone;
  EXPECT_NE(reason(many, "float32").find("1025 experts"), std::string::npos) << reason(many, "float32");
  EXPECT_EQ(reason(small_block(), "float32"), "");
}

TEST_F(Layer, DenseSoftmaxModule) {
  for (const std::int64_t experts : {1, 4, 9}) {
    Rng rng(5);
    const Matrix gate = Matrix::random(rng, experts, 20, DType::kFloat32),
                 bias = Matrix::random(rng, experts, 6, DType::kFloat32);
    const Matrix weights = Matrix::random(rng, experts * 6, 20, DType::kFloat32);
    MoE::Parameters parameters;
    parameters.gate_weight = gate.view().data;
    for (std::int64_t e = 0; e < experts; ++e) {
      parameters.expert_weights.push_back(static_cast<const float*>(weights.view().data) + e * 6 * 20);
      parameters.expert_biases.push_back(static_cast<const float*>(bias.view().data) + e * 6);
    }
    const MoE cpu(experts, 20, 6, parameters), npu(experts, 20, 6, parameters, {"auto", kDevice, "auto"});
    for (const std::int64_t tokens : {1, 33, 100}) {
      const Matrix x = Matrix::random(rng, tokens, 20, DType::kFloat32);
      EXPECT_LE(nmse(run(npu.layer(), x, {}).y, run(cpu.layer(), x, {}).y, all_rows(x)), 1e-10);
    }
    EXPECT_NE(npu.layer().explain().find("one aclnnMm"), std::string::npos);
  }
}

TEST_F(Layer, DenseBlocksInShortDtypes) {
  BlockConfig config;
  config.router.num_experts = config.router.top_k = 4;
  config.router.all_experts = true;
  config.router.matmul = Precision::kFloat32;
  config.expert.act = Activation::kLinear;
  config.expert.input = 20;
  config.expert.output = 6;
  config.expert.down_bias = true;
  for (const Mode& mode : conformance::modes(kAscend)) {
    SCOPED_TRACE(mode.name);
    const Block block(kAscend, config, mode, {true}, 9);
    EXPECT_NE(block.layer.explain().find("one aclnnMm"), std::string::npos) << block.layer.explain();
    for (const std::int64_t tokens : {1, 33}) expect_oracle(block, tokens, static_cast<std::uint64_t>(tokens));
  }
}

TEST_F(Layer, MissingInputsInDeviceMemoryAreTypedErrors) {
  BlockConfig config = small_block();
  config.router.source = RouterSource::kExternal;
  const Block external(kAscend, config, conformance::modes()[0], {}, 8);
  config.router.source = RouterSource::kComputed;
  const Block computed(kAscend, config, conformance::modes()[0], kBiased, 8);
  const OnDevice in(2, 48, DType::kFloat32), out(2, 48, DType::kFloat32);
  EXPECT_THROW(external.layer.forward(in.view(), out.out()), std::invalid_argument);
  const Buffer ids = backend().allocate(2 * 4 * 4, kDevice);
  RouteInputs given;
  given.expert_ids = static_cast<const std::int32_t*>(ids.data());
  EXPECT_THROW(external.layer.forward(in.view(), out.out(), given), std::invalid_argument);
  EXPECT_THROW(computed.layer.forward(in.view(), out.out(), given), std::invalid_argument);
  MatrixView backwards = in.view();
  backwards.row_stride = -48;
  EXPECT_THROW(computed.layer.forward(backwards, out.out()), std::invalid_argument);
}

TEST_F(Layer, WorkspaceIsWhatACallTakes) {
  const Block block(kAscend, small_block(), conformance::modes()[2], kBiased, 6);
  const auto packed = pack_block(kAscend, block.config, block.tensors, "bfloat16");
  const std::size_t one = backend().workspace_bytes(*packed, 1), many = backend().workspace_bytes(*packed, 1000);
  EXPECT_GT(one, 0u);
  EXPECT_GT(many, 20 * one);
  EXPECT_LE(many, 1000 * one);
}

TEST_F(Layer, AnotherDeviceOfTheMachine) {
  if (ascend::api().devices < 2) GTEST_SKIP() << "not tested: a second device";
  Rng rng(7);
  const BlockTensors tensors = random_tensors(rng, small_block(), DType::kFloat32, kBiased);
  const MoeLayer first(small_block(), tensors, {"auto", {DeviceKind::kAscend, 0}, "auto"});
  const MoeLayer second(small_block(), tensors, {"auto", {DeviceKind::kAscend, 1}, "auto"});
  const Matrix x = Matrix::random(rng, 9, 48, DType::kFloat32);
  for (int call = 0; call < 2; ++call) EXPECT_LE(nmse(run(first, x, {}).y, run(second, x, {}).y, all_rows(x)), 1e-10);
  EXPECT_THROW(MoeLayer(small_block(), tensors, {"auto", {DeviceKind::kAscend, 99}, "auto"}), DeviceError);
}

}  // namespace
}  // namespace moekit::ascend_test
