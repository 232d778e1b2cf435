// SPDX-License-Identifier: Apache-2.0
#include "models/quantisation_section.h"

#include <algorithm>
#include <cctype>
#include <cinttypes>
#include <cstdio>

namespace moekit {
namespace {

template <typename Item, typename Text>
std::string list(const std::vector<Item>& items, Text text) {
  std::string all;
  for (const Item& item : items) all += (all.empty() ? "" : ", ") + text(item);
  return all;
}

}  // namespace

const Json* QuantSection::find(const std::vector<const char*>& names) const {
  for (const char* name : names) {
    const Json* value = object_.find(name);
    if (value != nullptr && !value->is_null()) return value;
  }
  return nullptr;
}

std::optional<QuantSection> QuantSection::inner(std::string_view name) const {
  const Json* value = object_.find(name);
  if (value == nullptr || value->is_null()) return std::nullopt;
  if (value->object() == nullptr) fail(name, *value, "an object");
  return QuantSection(config_, path_ + std::string(name) + ".", *value->object());
}

std::string QuantSection::choice(const std::vector<const char*>& names, const std::vector<const char*>& known) const {
  const Json* value = find(names);
  if (value == nullptr) return {};
  std::string text = value->string() != nullptr ? *value->string() : std::string();
  std::transform(text.begin(), text.end(), text.begin(),
                 [](unsigned char c) { return static_cast<char>(std::tolower(c)); });
  for (const char* each : known)
    if (value->string() != nullptr && text == each) return text;
  fail(names.front(), *value, "one of " + list(known, [](const char* each) { return std::string(each); }));
}

std::int64_t QuantSection::integer(const std::vector<const char*>& names, std::int64_t low, std::int64_t absent) const {
  const Json* value = find(names);
  if (value == nullptr) return absent;
  const std::int64_t* number = value->integer();
  if (number == nullptr || *number < low || *number > kMaxConfigSize)
    fail(names.front(), *value, "an integer from " + std::to_string(low) + " to " + std::to_string(kMaxConfigSize));
  return *number;
}

std::int64_t QuantSection::known_integer(const std::vector<const char*>& names,
                                         const std::vector<std::int64_t>& known) const {
  const Json* value = find(names);
  if (value == nullptr) return 0;
  const std::int64_t* number = value->integer();
  if (number == nullptr || std::find(known.begin(), known.end(), *number) == known.end())
    fail(names.front(), *value, "one of " + list(known, [](std::int64_t each) { return std::to_string(each); }));
  return *number;
}

std::optional<ScaleBlock> QuantSection::block(std::string_view name) const {
  const Json* value = object_.find(name);
  if (value == nullptr || value->is_null()) return std::nullopt;
  if (const std::string* text = value->string()) {  // "128x128" in older files
    ScaleBlock size;
    char end = 0;
    if (std::sscanf(text->c_str(), "%9" SCNd64 "x%9" SCNd64 "%c", &size.rows, &size.cols, &end) != 2 || size.rows < 1 ||
        size.cols < 1)
      fail(name, *value, "two positive integers");
    return size;
  }
  const Json::Array* sizes = value->array();
  const auto fits = [](const Json& size) {
    return size.integer() != nullptr && *size.integer() >= 1 && *size.integer() <= kMaxConfigSize;
  };
  if (sizes == nullptr || sizes->size() != 2 || !fits(sizes->front()) || !fits(sizes->back()))
    fail(name, *value, "two positive integers");
  return ScaleBlock{*sizes->front().integer(), *sizes->back().integer()};
}

void QuantSection::fail(std::string_view field, const Json& value, const std::string& expected) const {
  config_.fail(path_ + std::string(field) + " is " + value.text() + ", expected " + expected);
}

}  // namespace moekit
