// SPDX-License-Identifier: Apache-2.0
#include "layer/block_json.h"

#include <cmath>
#include <iterator>
#include <limits>
#include <nlohmann/json.hpp>
#include <stdexcept>
#include <type_traits>

#include "backend/config_fields.h"
#include "checkpoint/json_value.h"
#include "checkpoint/text.h"
#include "formats/format.h"

namespace moekit {
namespace {

using fields::Names;
using fields::visit;

constexpr const char* kOperation = "packed layer";

template <class Fields>
void visit(Fields& f, ExpertFormats& c) {
  f("gate", c.gate), f("up", c.up), f("down", c.down);
}

template <class Fields>
void visit(Fields& f, BlockFormats& c) {
  f("routed", c.routed), f("shared", c.shared), f("nonfinite_scales", c.nonfinite_scales);
}

struct Writer {
  nlohmann::ordered_json json = nlohmann::ordered_json::object();

  void operator()(const char* key, DType value) { json[key] = dtype_name(value); }
  void operator()(const char* key, double value) {
    // JSON has no infinities; mask_fill is one.
    if (std::isinf(value))
      json[key] = value > 0.0 ? "inf" : "-inf";
    else
      json[key] = value;
  }
  template <class T>
  void operator()(const char* key, T& value) {
    if constexpr (std::is_enum_v<T>) {
      json[key] = Names<T>::kValues[static_cast<std::size_t>(value)];
    } else if constexpr (std::is_arithmetic_v<T>) {
      json[key] = value;
    } else {
      Writer inner;
      if constexpr (std::is_same_v<T, WeightFormat>) inner.json["name"] = value.name;
      visit(inner, value);
      json[key] = std::move(inner.json);
    }
  }
};

class Reader {
 public:
  Reader(const Json::Object& object, std::string path, std::string_view file)
      : object_(object), path_(std::move(path)), file_(file) {}

  void operator()(const char* key, bool& value) {
    const Json& json = take(key);
    if (json.boolean() == nullptr) fail(key, json, "true or false");
    value = *json.boolean();
  }
  void operator()(const char* key, double& value) {
    const Json& json = take(key);
    constexpr double kInfinity = std::numeric_limits<double>::infinity();
    if (json == Json("inf") || json == Json("-inf"))
      value = json == Json("inf") ? kInfinity : -kInfinity;
    else if (std::isfinite(json.number()))
      value = json.number();
    else
      fail(key, json, "a number");
  }
  void operator()(const char* key, DType& value) {
    const Json& json = take(key);
    if (json.string() == nullptr) fail(key, json, "a dtype");
    value = dtype_from_name(*json.string());
  }
  template <class T>
  void operator()(const char* key, T& value) {
    const Json& json = take(key);
    if constexpr (std::is_enum_v<T>) {
      constexpr auto& names = Names<T>::kValues;
      std::size_t at = 0;
      while (at < std::size(names) && (json.string() == nullptr || *json.string() != names[at])) ++at;
      if (at == std::size(names)) fail(key, json, "the name of a value");
      value = static_cast<T>(at);
    } else if constexpr (std::is_integral_v<T>) {
      if (json.integer() == nullptr || *json.integer() < std::numeric_limits<T>::min() ||
          *json.integer() > std::numeric_limits<T>::max())
        fail(key, json, "an integer");
      value = static_cast<T>(*json.integer());
    } else {
      if (json.object() == nullptr) fail(key, json, "an object");
      Reader inner(*json.object(), path_ + key + ".", file_);
      if constexpr (std::is_same_v<T, WeightFormat>) {
        const Json& name = inner.take("name");
        if (name.string() == nullptr) inner.fail("name", name, "the name of a weight format");
        value.name = format_entry(*name.string()).format.name;  // static storage
      }
      visit(inner, value);
      inner.finish();
      if constexpr (std::is_same_v<T, WeightFormat>) validate(value);
    }
  }
  void finish() const {
    if (taken_ != object_.values.size())
      checkpoint_error(kOperation, file_,
                       (path_.empty() ? "the configuration" : path_) + " has " + std::to_string(object_.values.size()) +
                           " fields, expected " + std::to_string(taken_));
  }

 private:
  const Json& take(const char* key) {
    const Json* json = object_.find(key);
    if (json == nullptr) checkpoint_error(kOperation, file_, path_ + key + " is missing");
    ++taken_;
    return *json;
  }
  [[noreturn]] void fail(const char* key, const Json& seen, const char* expected) const {
    checkpoint_error(kOperation, file_, path_ + key + " is " + seen.text() + ", expected " + expected);
  }

  const Json::Object& object_;
  std::string path_;
  std::string_view file_;
  std::size_t taken_ = 0;
};

template <class T>
std::string write(const T& value) {
  T copy = value;
  Writer writer;
  visit(writer, copy);
  return writer.json.dump();
}

template <class T>
T read(std::string_view text, std::string_view file) {
  const Json json = parse_json(text, kOperation, file);
  T value;
  try {
    Reader reader(*json.object(), "", file);
    visit(reader, value);
    reader.finish();
    if constexpr (std::is_same_v<T, BlockConfig>) validate(value);
  } catch (const CheckpointError&) {
    throw;
  } catch (const std::invalid_argument& error) {  // of a validation, which knows no file
    checkpoint_error(kOperation, file, error.what());
  }
  return value;
}

}  // namespace

std::string to_json(const BlockConfig& config) { return write(config); }
std::string to_json(const BlockFormats& formats) { return write(formats); }
BlockConfig config_from_json(std::string_view text, std::string_view file) { return read<BlockConfig>(text, file); }
BlockFormats formats_from_json(std::string_view text, std::string_view file) { return read<BlockFormats>(text, file); }

}  // namespace moekit
