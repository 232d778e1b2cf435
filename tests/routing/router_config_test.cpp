// SPDX-License-Identifier: Apache-2.0
#include <gtest/gtest.h>

#include <functional>

#include "moekit/error.h"
#include "routing/routing.h"
#include "routing/special_floats.h"

namespace moekit {
namespace {

RouterConfig sample() {
  RouterConfig c;
  c.num_experts = 16;
  c.top_k = 4;
  return c;
}

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

TEST(RouterConfigErrors, NameFieldValueAndLimit) {
  struct Case {
    std::function<void(RouterConfig&)> damage;
    std::vector<std::string> parts;
  };
  const Case cases[] = {
      {[](RouterConfig& c) { c.num_experts = 0; }, {"num_experts = 0", "1 .."}},
      {[](RouterConfig& c) { c.num_experts = std::numeric_limits<std::int64_t>::max(); },
       {"num_experts = 9223372036854775807", "1048576"}},
      {[](RouterConfig& c) { c.num_identity = -1; }, {"num_identity = -1"}},
      {[](RouterConfig& c) { c.num_identity = std::numeric_limits<std::int64_t>::max(); }, {"num_identity"}},
      {[](RouterConfig& c) { c.top_k = 0; }, {"top_k = 0", "1 .. 16"}},
      {[](RouterConfig& c) { c.top_k = 17; }, {"top_k = 17", "1 .. 16"}},
      {[](RouterConfig& c) { c.score = static_cast<Score>(9); }, {"score = 9", "0 .. 4"}},
      {[](RouterConfig& c) { c.source = static_cast<RouterSource>(200); }, {"source = 200"}},
      {[=](RouterConfig& c) { c.scale = kNan; }, {"scale = nan", "finite"}},
      {[=](RouterConfig& c) { c.logit_mult = kInf; }, {"logit_mult = inf"}},
      {[](RouterConfig& c) { c.eps = -1.0; }, {"eps = -1", ">= 0"}},
      {[=](RouterConfig& c) { c.softcap = kNan; }, {"softcap = nan"}},
      {[](RouterConfig& c) { c.p = 0.0; }, {"p = 0", "> 0"}},
      {[](RouterConfig& c) {
         c.group_rule = GroupRule::kMax;
         c.n_group = 3;
       },
       {"n_group = 3", "divisor of the 16"}},
      {[](RouterConfig& c) {
         c.group_rule = GroupRule::kMax;
         c.n_group = 4;
         c.topk_group = 5;
       },
       {"topk_group = 5", "1 .. 4"}},
      {[](RouterConfig& c) {
         c.group_rule = GroupRule::kMax;
         c.n_group = 8;
         c.topk_group = 1;
       },
       {"top_k = 4", "1 .. 2"}},
      {[](RouterConfig& c) {
         c.group_rule = GroupRule::kTop2Sum;
         c.n_group = 16;
         c.topk_group = 16;
       },
       {"n_group = 16"}},
      {[](RouterConfig& c) {
         c.group_rule = GroupRule::kMax;
         c.mask_fill = -1.0;
       },
       {"mask_fill = -1", "0 or -Inf"}},
      {[](RouterConfig& c) {
         c.group_rule = GroupRule::kArgmaxPerGroup;
         c.n_group = 8;
       },
       {"top_k = 4", "n_group = 8"}},
      {[](RouterConfig& c) {
         c.score = Score::kSparsemixer;
         c.group_rule = GroupRule::kMax;
       },
       {"group_rule", "sparsemixer"}},
      {[](RouterConfig& c) {
         c.source = RouterSource::kHashTable;
         c.group_rule = GroupRule::kMax;
       },
       {"group_rule", "hash"}},
  };
  for (const Case& item : cases) {
    RouterConfig config = sample();
    EXPECT_NO_THROW(validate(config));
    item.damage(config);
    expect_error<std::invalid_argument>([&] { validate(config); }, item.parts);
  }
}

TEST(RouterTensorErrors, NameTheTensor) {
  static const std::vector<float> floats(16 * 8);
  static const std::vector<std::int64_t> ids(10 * 4, 3);
  const auto tensor = [](const char* name, std::vector<std::int64_t> shape) {
    return memory_tensor(name, floats.data(), DType::kFloat32, std::move(shape));
  };
  RouterConfig config = sample();
  RouterTensors good;
  good.weight = tensor("gate.weight", {16, 8});
  good.selection_bias = tensor("gate.bias", {1, 16});
  EXPECT_NO_THROW(validate(config, good, 8));

  RouterTensors bad = good;
  bad.weight = tensor("gate.weight", {8, 16});
  expect_error<CheckpointError>([&] { validate(config, bad, 8); }, {"gate.weight", "[8, 16]", "[16, 8]"});
  bad = good;
  bad.weight = {};
  expect_error<CheckpointError>([&] { validate(config, bad, 8); }, {"router weight is missing", "[16, 8]"});
  bad = good;
  bad.selection_bias = tensor("gate.bias", {4, 4});
  expect_error<CheckpointError>([&] { read_router_tables(config, bad); }, {"gate.bias", "[4, 4]", "[16]"});
  bad = good;
  bad.bias = memory_tensor("b", ids.data(), DType::kInt64, {16});
  expect_error<CheckpointError>([&] { validate(config, bad, 8); }, {"b (router bias)", "int64"});

  config.source = RouterSource::kHashTable;
  expect_error<CheckpointError>([&] { validate(config, good, 8); }, {"tid2eid is missing"});
  good.tid2eid = memory_tensor("tid2eid", ids.data(), DType::kInt64, {10, 4});
  EXPECT_EQ(read_router_tables(config, good).vocabulary, 10);
  std::vector<std::int64_t> wrong = ids;
  wrong[4 * 7 + 1] = 16;
  bad = good;
  bad.tid2eid = memory_tensor("tid2eid", wrong.data(), DType::kInt64, {10, 4});
  expect_error<CheckpointError>([&] { read_router_tables(config, bad); },
                                {"tid2eid", "16 at row 7, column 1", "0 .. 15"});
  bad.tid2eid = memory_tensor("tid2eid", ids.data(), DType::kInt64, {8, 5});
  expect_error<CheckpointError>([&] { validate(config, bad, 8); }, {"tid2eid", "[8, 5]", "[vocabulary, 4]"});
}

TEST(RouterDescription, IsOneSentence) {
  RouterConfig c;
  c.num_experts = 128;
  c.top_k = 8;
  c.renorm = Renorm::kAddEps;
  EXPECT_EQ(describe(c), "softmax over 128, top 8, weights renormalised");
  c.score = Score::kSigmoid;
  c.group_rule = GroupRule::kTop2Sum;
  c.n_group = 8;
  c.topk_group = 4;
  c.scale = 2.5;
  EXPECT_EQ(describe(c),
            "sigmoid over 128, top 8 of the 4 best of 8 groups by the sum of their top 2, weights renormalised, x 2.5");
  c.source = RouterSource::kExternal;
  EXPECT_EQ(describe(c), "ids and weights from the caller, 128 experts, 8 a token");
}

}  // namespace
}  // namespace moekit
