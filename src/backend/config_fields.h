// SPDX-License-Identifier: Apache-2.0
// Every field of a block's configuration and formats, named once: for dictionaries in Python and for JSON in files.
#pragma once

#include <string_view>

#include "moekit/layer.h"
#include "moekit/weight_format.h"

namespace moekit::fields {

// Names of an enum's values, in their order.
template <class Enum>
struct Names;
template <>
struct Names<RouterSource> {
  static constexpr std::string_view kValues[] = {"computed", "hash_table", "external"};
};
template <>
struct Names<Score> {
  static constexpr std::string_view kValues[] = {"softmax", "sigmoid", "sqrt_softplus", "softmax_topk", "sparsemixer"};
};
template <>
struct Names<SelectOn> {
  static constexpr std::string_view kValues[] = {"score", "logit"};
};
template <>
struct Names<GroupRule> {
  static constexpr std::string_view kValues[] = {"none", "max", "top2_sum", "argmax_per_group"};
};
template <>
struct Names<Renorm> {
  static constexpr std::string_view kValues[] = {"off", "add_eps", "clamp_min", "pnorm"};
};
template <>
struct Names<ScaleAt> {
  static constexpr std::string_view kValues[] = {"on_weights", "on_routed_sum"};
};
template <>
struct Names<ApplyAt> {
  static constexpr std::string_view kValues[] = {"output", "input"};
};
template <>
struct Names<Precision> {
  static constexpr std::string_view kValues[] = {"native", "float32"};
};
template <>
struct Names<Activation> {
  static constexpr std::string_view kValues[] = {"linear",     "silu",        "gelu_tanh", "gelu", "silu_clamp",
                                                 "swiglu_oai", "swiglu_step", "relu",      "relu2"};
};
template <>
struct Names<SharedGate> {
  static constexpr std::string_view kValues[] = {"add", "sigmoid", "average"};
};

template <class Fields>
void visit(Fields& f, RouterConfig& c) {
  f("source", c.source), f("num_experts", c.num_experts), f("num_identity", c.num_identity);
  f("top_k", c.top_k), f("all_experts", c.all_experts);
  f("matmul", c.matmul), f("score_in", c.score_in), f("out", c.out);
  f("in_rmsnorm", c.in_rmsnorm), f("in_eps", c.in_eps), f("in_mult", c.in_mult);
  f("logit_mult", c.logit_mult), f("softcap", c.softcap);
  f("score", c.score), f("sparsemixer_eps", c.sparsemixer_eps), f("select_on", c.select_on);
  f("group_rule", c.group_rule), f("n_group", c.n_group), f("topk_group", c.topk_group), f("mask_fill", c.mask_fill);
  f("renorm", c.renorm), f("eps", c.eps), f("p", c.p);
  f("scale", c.scale), f("scale_at", c.scale_at), f("apply_at", c.apply_at);
}

template <class Fields>
void visit(Fields& f, ExpertConfig& c) {
  f("input", c.input), f("intermediate", c.intermediate), f("output", c.output), f("act", c.act);
  f("limit", c.limit), f("alpha", c.alpha), f("up_add", c.up_add);
  f("up_bias", c.up_bias), f("down_bias", c.down_bias);
}

template <class Fields>
void visit(Fields& f, SharedConfig& c) {
  f("count", c.count), f("gate", c.gate), f("expert", c.expert);
}

template <class Fields>
void visit(Fields& f, BlockConfig& c) {
  f("router", c.router), f("expert", c.expert), f("shared", c.shared), f("out_scale", c.out_scale);
}

template <>
struct Names<Code> {
  static constexpr std::string_view kValues[] = {"float32", "bfloat16", "float16", "int8", "uint4",
                                                 "uint5",   "uint6",    "e4m3",    "e2m1"};
};
template <>
struct Names<Offset> {
  static constexpr std::string_view kValues[] = {"none", "zero_point", "min"};
};
template <>
struct Names<RowScale> {
  static constexpr std::string_view kValues[] = {"none", "multiplies", "divides"};
};

/// Without the name, which stands for a list of its own (formats/format.h).
template <class Fields>
void visit(Fields& f, WeightFormat& c) {
  f("code", c.code), f("group", c.group), f("scale", c.scale), f("offset", c.offset), f("zero", c.zero);
  f("row_scale", c.row_scale), f("super", c.super), f("scale_rows", c.scale_rows);
}

}  // namespace moekit::fields
