// SPDX-License-Identifier: Apache-2.0
#include "checkpoint/json_value.h"

#include <cstdio>
#include <limits>

#include "checkpoint/json.h"
#include "checkpoint/text.h"

namespace moekit {
namespace {

class DocumentSax final : public StrictSax {
 public:
  using StrictSax::StrictSax;
  Json take() { return std::move(root_); }

  bool null() override { return add({}); }
  bool boolean(bool value) override { return add(value); }
  bool number_integer(number_integer_t value) override { return add(std::int64_t{value}); }
  bool number_unsigned(number_unsigned_t value) override {
    constexpr auto kMax = static_cast<std::uint64_t>(std::numeric_limits<std::int64_t>::max());
    return add(value <= kMax ? Json(static_cast<std::int64_t>(value)) : Json::large_integer(value));
  }
  bool number_float(number_float_t value, const string_t&) override { return add(Json::real(value)); }
  bool string(string_t& value) override { return add(std::move(value)); }
  bool key(string_t& name) override {
    Json::Object& object = open_.back()->items();
    if (!object.index.emplace(name, object.values.size()).second) fail("duplicate key " + in_quotes(name));
    return true;
  }
  bool start_object(std::size_t) override { return open(Json::container(Json::Kind::kObject)); }
  bool start_array(std::size_t) override { return open(Json::container(Json::Kind::kArray)); }
  bool end_object() override { return close(); }
  bool end_array() override { return close(); }

 private:
  Json* place(Json value) {
    if (open_.empty()) return &(root_ = std::move(value));
    Json::Array& items = open_.back()->items().values;
    items.push_back(std::move(value));
    return &items.back();
  }
  bool add(Json value) {
    place(std::move(value));
    return true;
  }
  bool open(Json value) {
    enter();
    open_.push_back(place(std::move(value)));
    return true;
  }
  bool close() {
    leave();
    open_.pop_back();
    return true;
  }

  Json root_;
  std::vector<Json*> open_;  // a container's address is stable while it is open: its parent does not grow
};

}  // namespace

const Json* Json::Object::find(std::string_view name) const {
  const auto found = index.find(name);
  return found == index.end() ? nullptr : &values[found->second];
}

Json Json::large_integer(std::uint64_t integer) {
  Json json;
  json.kind_ = Kind::kLargeInteger;
  json.large_ = integer;
  return json;
}

Json Json::real(double number) {
  Json json;
  json.kind_ = Kind::kReal;
  json.real_ = number;
  return json;
}

Json Json::container(Kind kind) {
  Json json;
  json.items_ = std::make_shared<Object>();
  json.kind_ = kind;
  return json;
}

double Json::number() const noexcept {
  switch (kind_) {
    case Kind::kInteger: return static_cast<double>(integer_);
    case Kind::kLargeInteger: return static_cast<double>(large_);
    case Kind::kReal: return real_;
    default: return std::numeric_limits<double>::quiet_NaN();
  }
}

void Json::append_text(std::string& out) const {
  constexpr std::size_t kLimit = 200;
  char text[32];
  switch (kind_) {
    case Kind::kNull: out += "null"; break;
    case Kind::kBool: out += boolean_ ? "true" : "false"; break;
    case Kind::kInteger: out += std::to_string(integer_); break;
    case Kind::kLargeInteger: out += std::to_string(large_); break;
    case Kind::kReal:
      std::snprintf(text, sizeof text, "%.17g", real_);
      out += text;
      if (std::string_view(text).find_first_not_of("-0123456789") == std::string_view::npos) out += ".0";
      break;
    case Kind::kString: out += '"' + printable(string_) + '"'; break;
    case Kind::kObject: out += "an object"; break;
    case Kind::kArray:
      out += '[';
      for (const Json& item : items_->values) {
        if (out.size() > kLimit) break;
        if (&item != items_->values.data()) out += ',';
        item.append_text(out);
      }
      out += ']';
  }
}

std::string Json::text() const {
  std::string out;
  append_text(out);
  return printable(out);
}

bool operator==(const Json& a, const Json& b) {
  if (a.kind_ != b.kind_) return false;
  switch (a.kind_) {
    case Json::Kind::kNull: return true;
    case Json::Kind::kBool: return a.boolean_ == b.boolean_;
    case Json::Kind::kInteger: return a.integer_ == b.integer_;
    case Json::Kind::kLargeInteger: return a.large_ == b.large_;
    case Json::Kind::kReal: return a.real_ == b.real_;
    case Json::Kind::kString: return a.string_ == b.string_;
    case Json::Kind::kArray:
    case Json::Kind::kObject: return a.items_->index == b.items_->index && a.items_->values == b.items_->values;
  }
  return false;
}

Json parse_json(std::string_view text, std::string_view operation, std::string_view file) {
  DocumentSax sax(operation, file);
  sax.parse(text);
  return sax.take();
}

}  // namespace moekit
