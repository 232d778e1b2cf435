// SPDX-License-Identifier: Apache-2.0
// The layer's own duties: checks with messages that name what was wrong, choices, and staying usable after an error.
#include "moekit/layer.h"

#include <functional>
#include <limits>

#include "conformance/harness.h"
#include "moekit/error.h"

namespace moekit::conformance {
namespace {

const Target kReference{"reference", ""};
const Mode kFloat{"f32", DType::kFloat32, DType::kFloat32, 1e-10};

BlockConfig small_config() { return make_config(rules()[0], forms()[2], 4, {6, 5, 6}); }

// The call throws `Error` and its message holds every one of the parts.
template <class Error>
void expect_error(const std::function<void()>& call, const std::vector<std::string>& parts) {
  try {
    call();
    ADD_FAILURE() << "no error; expected one that says " << parts.front();
  } catch (const Error& error) {
    for (const std::string& part : parts)
      EXPECT_NE(std::string(error.what()).find(part), std::string::npos) << error.what() << "\nlacks: " << part;
  }
}

TEST(BlockConfigErrors, NameFieldValueAndLimit) {
  struct Case {
    std::function<void(BlockConfig&)> damage;
    std::vector<std::string> parts;
  };
  const Case cases[] = {
      {[](BlockConfig& c) { c.expert.input = 0; }, {"input = 0", "1 .."}},
      {[](BlockConfig& c) { c.expert.output = -1; }, {"output = -1"}},
      {[](BlockConfig& c) { c.expert.intermediate = std::int64_t{1} << 62; }, {"intermediate = 4611686018427387904"}},
      {[](BlockConfig& c) { c.expert.act = static_cast<Activation>(77); }, {"act = 77", "0 .. 8"}},
      {[](BlockConfig& c) { c.expert.act = Activation::kLinear; }, {"intermediate = 5", "0 .. 0"}},
      {[](BlockConfig& c) {
         c.expert.act = Activation::kSwigluOai;
         c.expert.limit = 0.0;
       },
       {"limit = 0", "> 0"}},
      {[](BlockConfig& c) { c.out_scale = std::numeric_limits<double>::quiet_NaN(); }, {"out_scale", "finite"}},
      {[](BlockConfig& c) {
         c.router.num_identity = 2;
         c.expert.output = 3;
       },
       {"num_identity = 2", "input 6", "output 3"}},
      {[](BlockConfig& c) { c.shared.count = -3; }, {"shared.count = -3"}},
      {[](BlockConfig& c) {
         c.shared.count = 1;
         c.shared.expert = c.expert;
         c.shared.expert.output = 9;
       },
       {"shared.expert.output = 9", "6 .. 6"}},
      {[](BlockConfig& c) { c.router.top_k = 5; }, {"top_k = 5", "1 .. 4"}},
  };
  for (const Case& item : cases) {
    BlockConfig config = small_config();
    EXPECT_NO_THROW(validate(config));
    item.damage(config);
    expect_error<std::invalid_argument>([&] { validate(config); }, item.parts);
  }
}

TEST(BlockTensorErrors, NameTheTensorWhatWasSeenAndWhatWasExpected) {
  struct Case {
    std::function<void(BlockTensors&)> damage;
    std::vector<std::string> parts;
  };
  const Case cases[] = {
      {[](BlockTensors& t) { t.experts.pop_back(); }, {"3 experts given", "expected 4"}},
      {[](BlockTensors& t) { t.experts[2].up = {}; }, {"expert 2 up", "missing", "[5, 6]"}},
      {[](BlockTensors& t) { t.experts[1].gate.rows = 4; }, {"expert 1 gate", "[4, 6]", "[5, 6]"}},
      {[](BlockTensors& t) { t.experts[3].down_bias = t.experts[3].down; }, {"expert 3 down bias", "has none"}},
      {[](BlockTensors& t) { t.experts[0].down.tensor.dtype = DType::kInt8; }, {"expert 0 down", "int8"}},
      {[](BlockTensors& t) { t.experts[0].down.offset = 1; }, {"expert 0 down", "past the 30 elements"}},
      {[](BlockTensors& t) { t.experts[0].down.row_stride = std::numeric_limits<std::int64_t>::max(); },
       {"past the 30"}},
      {[](BlockTensors& t) { t.experts[0].down.offset = -1; }, {"negative offset"}},
      {[](BlockTensors& t) { t.router.weight = {}; }, {"router weight is missing", "[4, 6]"}},
      {[](BlockTensors& t) {
         t.router.weight.shape = {4, 7};
       },
       {"router", "[4, 7]", "[4, 6]"}},
      {[](BlockTensors& t) { t.router.selection_bias = t.router.weight; }, {"selection bias", "[4, 6]", "[4]"}},
      {[](BlockTensors& t) { t.shared = t.experts; }, {"4 shared experts given", "expected 0"}},
  };
  const BlockConfig config = small_config();
  for (const Case& item : cases) {
    Rng rng(1);
    BlockTensors tensors = random_tensors(rng, config, DType::kFloat32);
    EXPECT_NO_THROW(validate(config, tensors));
    item.damage(tensors);
    expect_error<CheckpointError>([&] { validate(config, tensors); }, item.parts);
    expect_error<CheckpointError>([&] { MoeLayer(config, tensors); }, item.parts);
  }
}

TEST(ForwardErrors, AreTypedAndLeaveTheLayerUsable) {
  const Block block(kReference, small_config(), kFloat, {}, 2);
  Rng rng(3);
  const Matrix x = Matrix::random(rng, 3, 6, DType::kFloat32);
  const Result want = run(block.layer, x, {});
  struct Case {
    std::function<void(MatrixView&, MutableMatrixView&, RouteInputs&, RoutingView&)> damage;
    std::vector<std::string> parts;
  };
  static const std::int32_t ids[] = {0, 1, 2, 0, 1, 2, 0, 1, 2};
  const Case cases[] = {
      {[](auto& v, auto&, auto&, auto&) { v.cols = 5; }, {"x has 5 columns", "expected 6"}},
      {[](auto&, auto& w, auto&, auto&) { w.cols = 7; }, {"y has 7 columns", "expected 6"}},
      {[](auto&, auto& w, auto&, auto&) { w.rows = 2; }, {"y has 2 rows", "3"}},
      {[](auto& v, auto&, auto&, auto&) { v.rows = -1; }, {"-1 rows"}},
      {[](auto& v, auto&, auto&, auto&) { v.dtype = DType::kFloat64; }, {"float64", "float32", "bfloat16"}},
      {[](auto&, auto& w, auto&, auto&) { w.dtype = DType::kBFloat16; }, {"y has dtype bfloat16", "float32"}},
      {[](auto& v, auto&, auto&, auto&) { v.col_stride = 2; }, {"column stride 2"}},
      {[](auto&, auto& w, auto&, auto&) { w.row_stride = 5; }, {"row stride 5"}},
      {[](auto& v, auto&, auto&, auto&) { v.data = nullptr; }, {"x has 3 rows but no memory"}},
      {[](auto&, auto& w, auto&, auto&) { w.data = nullptr; }, {"y has 3 rows but no memory"}},
      {[](auto& v, auto&, auto&, auto&) { v.data = static_cast<const char*>(v.data) + 1; }, {"x is not aligned"}},
      {[](auto& v, auto&, auto&, auto&) { v.row_stride = std::numeric_limits<std::int64_t>::max() / 2; }, {"2^63 - 1"}},
      {[](auto& v, auto&, auto&, auto&) { v.row_stride = std::numeric_limits<std::int64_t>::min(); }, {"2^63 - 1"}},
      {[](auto&, auto&, auto& in, auto&) { in.expert_ids = ids; }, {"routes by itself"}},
      {[](auto&, auto&, auto&, auto& r) { r.top_k = 2; }, {"routing is [3, 2]", "[3, 3]"}},
      {[](auto&, auto&, auto&, auto& r) { r.weights = nullptr; }, {"routing has no memory"}},
  };
  for (const Case& item : cases) {
    Matrix out(3, 6, DType::kFloat32);
    std::vector<std::int32_t> chosen(9);
    std::vector<float> weights(9);
    MatrixView v = x.view();
    MutableMatrixView w = out.out();
    RouteInputs inputs;
    RoutingView routing{3, 3, chosen.data(), weights.data()};
    item.damage(v, w, inputs, routing);
    expect_error<std::invalid_argument>([&] { block.layer.forward(v, w, inputs, &routing); }, item.parts);
    EXPECT_EQ(run(block.layer, x, {}).y.bytes(), want.y.bytes());
  }
}

TEST(ForwardErrors, OfCallersIds) {
  BlockConfig config = small_config();
  config.router.source = RouterSource::kExternal;
  const Block block(kReference, config, kFloat, {}, 4);
  const Matrix x(2, 6, DType::kFloat32);
  expect_error<std::invalid_argument>([&] { run(block.layer, x, {}); }, {"expert_ids are missing"});
  Inputs inputs;
  inputs.expert_ids = {0, -1, 2, 3, 1, 0};
  inputs.weights = {1, 1, 1, 1, 1, 1};
  EXPECT_NO_THROW(run(block.layer, x, inputs));
  for (const std::int32_t id : {-2, 4, std::numeric_limits<std::int32_t>::max()}) {
    Inputs bad = inputs;
    bad.expert_ids[4] = id;
    expect_error<std::invalid_argument>([&] { run(block.layer, x, bad); },
                                        {std::to_string(id), "row 1, column 1", "-1 .. 3"});
  }
  EXPECT_NO_THROW(run(block.layer, x, inputs));
}

TEST(ForwardErrors, OfTokenIds) {
  BlockConfig config = small_config();
  config.router.source = RouterSource::kHashTable;
  const Block block(kReference, config, kFloat, {}, 5);
  const Matrix x(2, 6, DType::kFloat32);
  expect_error<std::invalid_argument>([&] { run(block.layer, x, {}); }, {"token_ids are missing"});
  for (const std::int64_t id : {std::int64_t{-1}, kVocabulary, std::numeric_limits<std::int64_t>::max()}) {
    Inputs inputs;
    inputs.token_ids = {0, id};
    expect_error<std::invalid_argument>([&] { run(block.layer, x, inputs); }, {std::to_string(id), "row 1", "0 .. 49"});
  }
}

TEST(Choices, FormatFollowsTheTensors) {
  const BlockConfig config = small_config();
  const auto format = [&](DType dtype, const std::string& asked) {
    Rng rng(6);
    return std::string(MoeLayer(config, random_tensors(rng, config, dtype), {asked, {}, "reference"}).format());
  };
  EXPECT_EQ(format(DType::kFloat32, "auto"), "float32");
  EXPECT_EQ(format(DType::kBFloat16, "auto"), "bfloat16");
  EXPECT_EQ(format(DType::kFloat16, "auto"), "float16");
  EXPECT_EQ(format(DType::kFloat16, "bfloat16"), "bfloat16");
  EXPECT_EQ(format(DType::kBFloat16, "float32"), "float32");
  EXPECT_EQ(format(DType::kFloat32, "bfloat16"), "bfloat16");
  expect_error<std::invalid_argument>([&] { format(DType::kFloat32, "int9"); },
                                      {"int9", "auto", "float32", "bfloat16"});
  // What comes first for the CPU has no float16, and the oracle behind it is not chosen for its sake.
  Rng half(6);
  const MoeLayer on_cpu(config, random_tensors(half, config, DType::kFloat16));
  EXPECT_EQ(on_cpu.format(), "float32");
  EXPECT_EQ(on_cpu.backend(), "cpu");

  Rng rng(7);
  BlockTensors mixed = random_tensors(rng, config, DType::kBFloat16);
  mixed.experts[2] = random_tensors(rng, config, DType::kFloat32).experts[2];
  EXPECT_EQ(MoeLayer(config, mixed, {"auto", {}, "reference"}).format(), "float32");
}

TEST(Choices, BackendErrorsListWhatExists) {
  const BlockConfig config = small_config();
  Rng rng(8);
  const BlockTensors tensors = random_tensors(rng, config, DType::kFloat32);
  expect_error<std::invalid_argument>(
      [&] {
        MoeLayer(config, tensors, {"auto", {}, "gpu"});
      },
      {"gpu", "auto", "reference"});
  expect_error<UnsupportedError>(
      [&] {
        MoeLayer(config, tensors, {"auto", {DeviceKind::kCuda, 3}, "auto"});
      },
      {"cuda:3"});
}

TEST(Choices, ExplainSaysWhatRuns) {
  const Block block(kReference, small_config(), kFloat, {}, 9);
  const std::string text = block.layer.explain();
  for (const char* part :
       {"backend: reference on cpu", "weights: float32", "softmax over 4, top 3", "silu, 6 -> 5 -> 6"})
    EXPECT_NE(text.find(part), std::string::npos) << text;
}

TEST(Layer, ZeroTokensNeedNoMemory) {
  const Block block(kReference, small_config(), kFloat, {}, 10);
  EXPECT_NO_THROW(block.layer.forward({nullptr, DType::kFloat32, 0, 6, 6, 1}, {nullptr, DType::kFloat32, 0, 6, 6}));
}

TEST(Layer, TransposedAndSteppedSourcesPackTheSame) {
  const BlockConfig config = small_config();
  const Block plain(kReference, config, kFloat, {}, 11);
  BlockTensors tensors = plain.tensors;
  std::vector<std::vector<float>> owners;
  for (ExpertTensors& e : tensors.experts) {
    // gate and up rows in turn, as gpt-oss stores them, and down transposed.
    const std::vector<float> gate = read_float32(e.gate.tensor), up = read_float32(e.up.tensor),
                             down = read_float32(e.down.tensor);
    std::vector<float> both, turned;
    for (std::size_t r = 0; r < 5; ++r) {
      both.insert(both.end(), gate.begin() + static_cast<std::ptrdiff_t>(r * 6),
                  gate.begin() + static_cast<std::ptrdiff_t>(r * 6 + 6));
      both.insert(both.end(), up.begin() + static_cast<std::ptrdiff_t>(r * 6),
                  up.begin() + static_cast<std::ptrdiff_t>(r * 6 + 6));
    }
    for (std::size_t c = 0; c < 5; ++c)
      for (std::size_t r = 0; r < 6; ++r) turned.push_back(down[r * 5 + c]);
    owners.push_back(both);
    owners.push_back(turned);
    const TensorRef pairs = memory_tensor("pairs", owners[owners.size() - 2].data(), DType::kFloat32, {10, 6});
    e.gate = row_slice(matrix_of(pairs), 0, 5, 2);
    e.up = row_slice(matrix_of(pairs), 1, 5, 2);
    e.down = stacked_matrix(memory_tensor("turned", owners.back().data(), DType::kFloat32, {1, 5, 6}), 0, true);
  }
  Rng rng(12);
  const Matrix x = Matrix::random(rng, 9, 6, DType::kFloat32);
  EXPECT_EQ(run(make_layer(kReference, config, tensors, "auto"), x, {}).y.bytes(), run(plain.layer, x, {}).y.bytes());
}

}  // namespace
}  // namespace moekit::conformance
