// SPDX-License-Identifier: Apache-2.0
#include "models/config.h"

#include <cmath>

#include "checkpoint/file.h"
#include "checkpoint/json.h"
#include "checkpoint/text.h"

namespace moekit {
namespace {

constexpr const char* kOperation = "config";
// The largest published config.json is below 200 kB; a document takes up to 16 times its text in memory.
constexpr std::uint64_t kMaxConfigBytes = std::uint64_t{4} << 20;

}  // namespace

Config Config::read(const std::string& folder) {
  Config config;
  config.path_ = file_in_folder(folder, "config.json");
  config.root_ = parse_json(read_text(config.path_, kMaxConfigBytes), kOperation, config.path_);
  return config;
}

const nlohmann::json& Config::text() const {
  if (text_name_.empty()) return root_;
  return root_.at(text_name_);
}

const nlohmann::json* Config::find(const std::vector<const char*>& names) const {
  const nlohmann::json* found = nullptr;
  const char* found_name = nullptr;
  for (const char* name : names) {
    const auto at = text().find(name);
    if (at == text().end()) continue;
    if (found != nullptr && *found != *at)
      fail(std::string(found_name) + " is " + value_text(*found) + " and " + name + " is " + value_text(*at) +
           ", two names of one thing");
    found = &*at;
    found_name = name;
  }
  return found;
}

std::int64_t Config::integer(const Field& field, std::int64_t low) const {
  const nlohmann::json* value = find(field.names);
  const std::optional<double>& implied = value == nullptr ? field.absent : field.null;
  if (value == nullptr || value->is_null()) {
    if (implied) return static_cast<std::int64_t>(*implied);
    fail(field_text(field.names) + (value == nullptr ? " is missing" : " is null") + ", expected an integer");
  }
  if (!value->is_number_integer() || *value < low || *value > kMaxConfigSize)
    fail(field_text(field.names) + " is " + value_text(*value) + ", expected an integer from " + std::to_string(low) +
         " to " + std::to_string(kMaxConfigSize));
  return value->get<std::int64_t>();
}

double Config::number(const Field& field) const {
  const nlohmann::json* value = find(field.names);
  const std::optional<double>& implied = value == nullptr ? field.absent : field.null;
  if (value == nullptr || value->is_null()) {
    if (implied) return *implied;
    fail(field_text(field.names) + (value == nullptr ? " is missing" : " is null") + ", expected a number");
  }
  if (!value->is_number() || !std::isfinite(value->get<double>()))
    fail(field_text(field.names) + " is " + value_text(*value) + ", expected a finite number");
  return value->get<double>();
}

bool Config::boolean(const Field& field) const {
  const nlohmann::json* value = find(field.names);
  const std::optional<double>& implied = value == nullptr ? field.absent : field.null;
  if (value == nullptr || value->is_null()) {
    if (implied) return *implied != 0.0;
    fail(field_text(field.names) + (value == nullptr ? " is missing" : " is null") + ", expected true or false");
  }
  if (!value->is_boolean()) fail(field_text(field.names) + " is " + value_text(*value) + ", expected true or false");
  return value->get<bool>();
}

std::vector<std::int64_t> Config::integers(const char* name) const {
  const nlohmann::json* value = find({name});
  std::vector<std::int64_t> result;
  if (value == nullptr || value->is_null()) return result;
  if (!value->is_array()) fail(std::string(name) + " is " + value_text(*value) + ", expected a list of integers");
  for (const nlohmann::json& item : *value) {
    if (!item.is_number_integer() || item < 0 || item > kMaxConfigSize)
      fail(std::string(name) + " holds " + value_text(item) + ", expected integers from 0");
    result.push_back(item.get<std::int64_t>());
  }
  return result;
}

void Config::fail(const std::string& what) const { checkpoint_error(kOperation, path_, what); }

std::string field_text(const std::vector<const char*>& names) {
  std::string text = names.front();
  for (std::size_t i = 1; i < names.size(); ++i) text += std::string(i == 1 ? " (or " : ", ") + names[i];
  return names.size() > 1 ? text + ")" : text;
}

std::string value_text(const nlohmann::json& value) {
  if (value.is_object()) return "an object";
  return printable(value.dump(-1, ' ', false, nlohmann::json::error_handler_t::replace));
}

}  // namespace moekit
