// SPDX-License-Identifier: Apache-2.0
// BlockConfig as nested dicts. Every field is named once, in visit(), for both directions.
#include <limits>
#include <string>
#include <string_view>
#include <type_traits>

#include "bindings.h"

namespace moekit::python {
namespace {

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
  f("source", c.source), f("num_experts", c.num_experts), f("num_identity", c.num_identity), f("top_k", c.top_k), f("all_experts", c.all_experts);
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

struct Writer {
  py::dict dict;
  template <class T>
  void operator()(const char* key, T& value) {
    if constexpr (std::is_enum_v<T>) {
      dict[key] = Names<T>::kValues[static_cast<std::size_t>(value)];
    } else if constexpr (std::is_arithmetic_v<T>) {
      dict[key] = value;
    } else {
      Writer inner;
      visit(inner, value);
      dict[key] = inner.dict;
    }
  }
};

class Reader {
 public:
  Reader(const py::dict& dict, std::string path) : dict_(dict), path_(std::move(path)) {}

  template <class T>
  void operator()(const char* key, T& value) {
    fields_ += std::string(key) + " ";
    if (!dict_.contains(key)) return;
    const py::object item = dict_[key];
    const std::string where = path_ + key;
    if constexpr (std::is_enum_v<T>) {
      value = enum_from(item, where, value);
    } else if constexpr (std::is_arithmetic_v<T>) {
      try {
        value = py::cast<T>(item);
      } catch (const py::cast_error&) {
        throw py::value_error("[config] " + where + " is " + py::repr(item).cast<std::string>() + ", expected " +
                              (std::is_same_v<T, bool> ? "a bool"
                               : std::is_integral_v<T> ? "an integer"
                                                       : "a number"));
      }
    } else {
      if (!py::isinstance<py::dict>(item)) throw py::value_error("[config] " + where + " is not a dict");
      Reader inner(py::reinterpret_borrow<py::dict>(item), where + ".");
      visit(inner, value);
      inner.finish();
    }
  }

  /// Throws for a key that no field took.
  void finish() const {
    for (const auto& item : dict_) {
      const auto key = py::str(item.first).cast<std::string>();
      if (fields_.find(" " + key + " ") == std::string::npos)
        throw py::value_error("[config] unknown field '" + path_ + key + "'; known:" + fields_);
    }
  }

 private:
  template <class T>
  static T enum_from(const py::object& item, const std::string& where, T) {
    const auto text = py::str(item).cast<std::string>();
    std::string names;
    std::size_t index = 0;
    for (const std::string_view name : Names<T>::kValues) {
      if (name == text) return static_cast<T>(index);
      names += (index++ == 0 ? "" : ", ") + std::string(name);
    }
    throw py::value_error("[config] " + where + " is '" + text + "', not one of " + names);
  }

  py::dict dict_;
  std::string path_;
  std::string fields_ = " ";
};

}  // namespace

py::dict config_to_dict(const BlockConfig& config) {
  BlockConfig copy = config;
  Writer writer;
  visit(writer, copy);
  return writer.dict;
}

BlockConfig config_from_dict(const py::dict& dict) {
  BlockConfig config;
  Reader reader(dict, "");
  visit(reader, config);
  reader.finish();
  return config;
}

}  // namespace moekit::python
