// SPDX-License-Identifier: Apache-2.0
#include "models/config.h"

#include <cmath>
#include <utility>

#include "checkpoint/file.h"
#include "checkpoint/text.h"

namespace moekit {
namespace {

constexpr const char* kOperation = "config";
// The largest published config.json is below 200 kB; a list of small numbers takes 64 times its text in memory.
constexpr std::uint64_t kMaxConfigBytes = std::uint64_t{1} << 20;

}  // namespace

Config Config::read(const std::string& folder) {
  Config config;
  config.path_ = file_in_folder(folder, "config.json");
  config.root_ = parse_json(read_text(config.path_, kMaxConfigBytes), kOperation, config.path_);
  return config;
}

Config Config::of(std::string path, Json object) {
  Config config;
  config.path_ = std::move(path);
  config.root_ = std::move(object);
  return config;
}

const Json::Object& Config::text() const {
  const Json::Object* object = root_.object();
  for (const char* name : text_path_) object = object->find(name)->object();
  return *object;
}

const Json* Config::lookup(std::string_view name) const {
  const Json::Object* object = &text();
  for (std::size_t dot = name.find('.'); dot != std::string_view::npos; dot = name.find('.')) {
    const Json* inner = object->find(name.substr(0, dot));
    if (inner == nullptr || inner->object() == nullptr) return nullptr;
    object = inner->object();
    name.remove_prefix(dot + 1);
  }
  return object->find(name);
}

const Json* Config::element(const Field& field, const Json* value) const {
  if (!(field.per_layer || field.per_set) || value == nullptr || value->array() == nullptr) return value;
  const auto count = field.per_layer ? static_cast<std::size_t>(layers_) : sets_;
  if (value->array()->size() != count)
    fail(field_text(field.names) + " is " + value->text() + ", expected one for each of " + std::to_string(count) +
         (field.per_layer ? " layers" : " expert sets"));
  return &(*value->array())[field.per_layer ? static_cast<std::size_t>(layer_) : set_];
}

const Json* Config::find(const std::vector<const char*>& names) const {
  const Json* found = nullptr;
  const char* found_name = nullptr;
  for (const char* name : names) {
    const Json* at = lookup(name);
    if (at == nullptr) continue;
    if (found != nullptr && !(*found == *at))
      fail(std::string(found_name) + " is " + found->text() + " and " + name + " is " + at->text() +
           ", two names of one thing");
    found = at;
    found_name = name;
  }
  return found;
}

std::int64_t Config::integer(const Field& field, std::int64_t low) const {
  const Json* value = element(field, find(field.names));
  const std::optional<double>& implied = value == nullptr ? field.absent : field.null;
  if (value == nullptr || value->is_null()) {
    if (implied) return static_cast<std::int64_t>(*implied);
    fail(field_text(field.names) + (value == nullptr ? " is missing" : " is null") + ", expected an integer");
  }
  const std::int64_t* integer = value->integer();
  if (integer == nullptr || *integer < low || *integer > kMaxConfigSize)
    fail(field_text(field.names) + " is " + value->text() + ", expected an integer from " + std::to_string(low) +
         " to " + std::to_string(kMaxConfigSize));
  return *integer;
}

double Config::number(const Field& field) const {
  const Json* value = find(field.names);
  const std::optional<double>& implied = value == nullptr ? field.absent : field.null;
  if (value == nullptr || value->is_null()) {
    if (implied) return *implied;
    fail(field_text(field.names) + (value == nullptr ? " is missing" : " is null") + ", expected a number");
  }
  if (!std::isfinite(value->number()))
    fail(field_text(field.names) + " is " + value->text() + ", expected a finite number");
  return value->number();
}

bool Config::boolean(const Field& field) const {
  const Json* value = find(field.names);
  const std::optional<double>& implied = value == nullptr ? field.absent : field.null;
  if (value == nullptr || value->is_null()) {
    if (implied) return *implied != 0.0;
    fail(field_text(field.names) + (value == nullptr ? " is missing" : " is null") + ", expected true or false");
  }
  if (value->boolean() == nullptr) fail(field_text(field.names) + " is " + value->text() + ", expected true or false");
  return *value->boolean();
}

double Config::layer_number(const char* name) const {
  const Field field{{name}, 0.0, 0.0, true};
  const Json* value = find(field.names);
  if (value != nullptr && !value->is_null() && value->array() == nullptr)
    fail(std::string(name) + " is " + value->text() + ", expected a list of numbers");
  value = element(field, value);
  if (value == nullptr || value->is_null()) return 0.0;
  if (!std::isfinite(value->number()))
    fail(std::string(name) + " holds " + value->text() + ", expected finite numbers");
  return value->number();
}

std::vector<std::int64_t> Config::integers(const char* name) const {
  const Json* value = find({name});
  std::vector<std::int64_t> result;
  if (value == nullptr || value->is_null()) return result;
  if (value->array() == nullptr) fail(std::string(name) + " is " + value->text() + ", expected a list of integers");
  for (const Json& item : *value->array()) {
    const std::int64_t* index = item.integer();
    if (index == nullptr || *index < 0 || *index > kMaxConfigSize)
      fail(std::string(name) + " holds " + item.text() + ", expected integers from 0");
    result.push_back(*index);
  }
  return result;
}

void Config::fail(const std::string& what) const { checkpoint_error(kOperation, path_, what); }

std::string field_text(const std::vector<const char*>& names) {
  std::string text = names.front();
  for (std::size_t i = 1; i < names.size(); ++i) text += std::string(i == 1 ? " (or " : ", ") + names[i];
  return names.size() > 1 ? text + ")" : text;
}

}  // namespace moekit
