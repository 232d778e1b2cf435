// SPDX-License-Identifier: Apache-2.0
#include "conformance/cases.h"

#include <algorithm>

namespace moekit::conformance {
namespace {

void grouped(RouterConfig& c, GroupRule rule, double fill) {
  c.group_rule = rule;
  c.n_group = c.num_experts % 4 == 0 && c.num_experts >= 8 ? 4 : 1;
  c.topk_group = c.n_group == 4 ? 2 : 1;
  c.mask_fill = fill;
}

void sigmoid_v3(RouterConfig& c) {
  c.score = Score::kSigmoid;
  c.matmul = Precision::kFloat32;
  c.renorm = Renorm::kAddEps;
  c.eps = 1e-20;
  c.scale = 2.5;
}

template <Activation kAct, bool kUpBias, bool kDownBias>
void plain_form(BlockConfig& c) {
  c.expert.act = kAct;
  c.expert.up_bias = kUpBias;
  c.expert.down_bias = kDownBias;
}

template <SharedGate kGate, int kCount>
void shared_form(BlockConfig& c) {
  c.expert.act = Activation::kSilu;
  c.shared.count = kCount;
  c.shared.gate = kGate;
}

constexpr double kNegativeInfinity = -std::numeric_limits<double>::infinity();

}  // namespace

const std::vector<Mode>& modes() {
  static const std::vector<Mode> list = {
      {"f32", DType::kFloat32, DType::kFloat32, 1e-10},   {"bf16_weights", DType::kBFloat16, DType::kFloat32, 1e-5},
      {"bf16", DType::kBFloat16, DType::kBFloat16, 1e-5}, {"bf16_data", DType::kFloat32, DType::kBFloat16, 1e-5},
      {"f16", DType::kFloat16, DType::kFloat16, 2e-7},    {"f16_weights", DType::kFloat16, DType::kFloat32, 2e-7},
  };
  return list;
}

const std::vector<Rule>& rules() {
  static const std::vector<Rule> list = {
      {"softmax_renorm",
       1,
       [](RouterConfig& c) {
         c.renorm = Renorm::kAddEps;
         c.out = Precision::kNative;
       },
       {}},
      {"softmax", 1, [](RouterConfig&) {}, {}},
      {"dense",
       1,
       [](RouterConfig& c) {
         c.top_k = c.num_experts;
         c.matmul = Precision::kFloat32;
       },
       {true}},
      {"softmax_topk_bias",
       1,
       [](RouterConfig& c) {
         c.score = Score::kSoftmaxTopk;
         c.score_in = Precision::kNative;
       },
       {true}},
      {"sigmoid_groups_top2",
       2,
       [](RouterConfig& c) {
         sigmoid_v3(c);
         grouped(c, GroupRule::kTop2Sum, kNegativeInfinity);
       },
       {false, true}},
      {"sigmoid_bias", 1, sigmoid_v3, {false, true}},
      {"sigmoid_native",
       1,
       [](RouterConfig& c) {
         c.score = Score::kSigmoid;
         c.score_in = Precision::kNative;
         c.renorm = Renorm::kAddEps;
         c.eps = 1e-6;
       },
       {false, true}},
      {"sigmoid_on_logit",
       1,
       [](RouterConfig& c) {
         sigmoid_v3(c);
         c.select_on = SelectOn::kLogit;
       },
       {false, true}},
      {"sigmoid_scaled_sum",
       1,
       [](RouterConfig& c) {
         sigmoid_v3(c);
         c.scale_at = ScaleAt::kOnRoutedSum;
       },
       {false, true}},
      {"softmax_groups_max",
       1,
       [](RouterConfig& c) {
         c.matmul = Precision::kFloat32;
         c.scale = 16.0;
         grouped(c, GroupRule::kMax, 0.0);
       },
       {}},
      {"softmax_groups_top2",
       2,
       [](RouterConfig& c) {
         c.score_in = Precision::kNative;
         c.renorm = Renorm::kAddEps;
         c.eps = 1e-20;
         grouped(c, GroupRule::kTop2Sum, 0.0);
       },
       {}},
      {"softmax_clamp_min",
       1,
       [](RouterConfig& c) {
         c.matmul = Precision::kFloat32;
         c.renorm = Renorm::kClampMin;
         c.eps = 1e-12;
         c.out = Precision::kNative;
       },
       {false, true}},
      {"identity_experts",
       1,
       [](RouterConfig& c) {
         c.num_identity = 1 + c.num_experts / 2;
         c.top_k = 2;
         c.matmul = Precision::kFloat32;
         c.scale = 6.0;
       },
       {false, true}},
      {"sqrt_softplus",
       1,
       [](RouterConfig& c) {
         c.score = Score::kSqrtSoftplus;
         c.renorm = Renorm::kAddEps;
         c.eps = 1e-20;
         c.scale = 1.5;
       },
       {false, true}},
      {"hash_table",
       1,
       [](RouterConfig& c) {
         c.source = RouterSource::kHashTable;
         c.score = Score::kSqrtSoftplus;
         c.renorm = Renorm::kAddEps;
       },
       {}},
      {"weighted_input",
       1,
       [](RouterConfig& c) {
         c.score = Score::kSigmoid;
         c.select_on = SelectOn::kLogit;
         c.out = Precision::kNative;
         c.apply_at = ApplyAt::kInput;
         c.top_k = 1;
       },
       {}},
      {"rms_norm_input",
       1,
       [](RouterConfig& c) {
         c.in_rmsnorm = true;
         c.in_mult = 0.174;
         c.renorm = Renorm::kAddEps;
       },
       {false, false, true, true}},
      {"sparsemixer",
       2,
       [](RouterConfig& c) {
         c.score = Score::kSparsemixer;
         c.sparsemixer_eps = 0.1;
         c.top_k = 2;
       },
       {}},
      {"p_norm",
       1,
       [](RouterConfig& c) {
         c.score_in = Precision::kNative;
         c.renorm = Renorm::kPnorm;
         c.p = 1.0;
       },
       {}},
      {"argmax_per_group",
       1,
       [](RouterConfig& c) {
         c.group_rule = GroupRule::kArgmaxPerGroup;
         c.n_group = c.num_experts == 64 ? 8 : 1;
         c.top_k = c.n_group;
       },
       {false, false, false, true}},
      {"softcap",
       1,
       [](RouterConfig& c) {
         c.softcap = 30.0;
         c.logit_mult = 2.0;
         c.renorm = Renorm::kAddEps;
       },
       {}},
      {"external",
       1,
       [](RouterConfig& c) {
         c.source = RouterSource::kExternal;
         c.num_identity = 1;
       },
       {}},
  };
  return list;
}

const std::vector<Form>& forms() {
  static const std::vector<Form> list = {
      {"linear", plain_form<Activation::kLinear, false, false>},
      {"linear_bias", plain_form<Activation::kLinear, false, true>},
      {"silu", plain_form<Activation::kSilu, false, false>},
      {"silu_biases", plain_form<Activation::kSilu, true, true>},
      {"gelu_tanh", plain_form<Activation::kGeluTanh, false, false>},
      {"gelu", plain_form<Activation::kGelu, false, true>},
      {"silu_clamp", plain_form<Activation::kSiluClamp, false, false>},
      {"swiglu_oai_biases", plain_form<Activation::kSwigluOai, true, true>},
      {"swiglu_oai", plain_form<Activation::kSwigluOai, false, false>},
      {"swiglu_step", plain_form<Activation::kSwigluStep, true, false>},
      {"relu", plain_form<Activation::kRelu, true, true>},
      {"relu2", plain_form<Activation::kRelu2, false, false>},
      {"shared_add", shared_form<SharedGate::kAdd, 1>},
      {"shared_two", shared_form<SharedGate::kAdd, 2>},
      {"shared_sigmoid", shared_form<SharedGate::kSigmoid, 1>},
      {"shared_average",
       [](BlockConfig& c) {
         shared_form<SharedGate::kAverage, 1>(c);
         c.out_scale = 0.75;
       }},
      {"out_scale",
       [](BlockConfig& c) {
         c.expert.act = Activation::kRelu2;
         c.expert.down_bias = true;
         c.out_scale = -3.0;
       }},
  };
  return list;
}

const std::vector<Size>& sizes() {
  static const std::vector<Size> list = {{33, 17, 33}, {64, 96, 64}, {33, 17, 5}, {1, 1, 1}, {130, 70, 66}};
  return list;
}

BlockConfig make_config(const Rule& rule, const Form& form, std::int64_t experts, const Size& size) {
  BlockConfig c;
  c.router.num_experts = experts;
  c.router.top_k = std::min<std::int64_t>(experts, experts >= 64 ? 8 : 3);
  rule.set(c.router);
  c.expert.limit = 1.25;  // reached by a good part of the values
  c.expert.alpha = 1.702;
  form.set(c);
  c.expert.input = size.input;
  c.expert.output = c.router.num_identity > 0 ? size.input : size.output;
  c.expert.intermediate = c.expert.act == Activation::kLinear ? 0 : size.intermediate;
  if (c.shared.count > 0) {
    c.shared.expert = c.expert;
    c.shared.expert.intermediate = size.intermediate + 3;
  }
  return c;
}

}  // namespace moekit::conformance
