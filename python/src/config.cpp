// SPDX-License-Identifier: Apache-2.0
// BlockConfig as nested dicts. The fields are those of backend/config_fields.h.
#include <limits>
#include <string>
#include <string_view>
#include <type_traits>

#include "backend/config_fields.h"
#include "bindings.h"

namespace moekit::python {
namespace {

using fields::Names;
using fields::visit;

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
