// SPDX-License-Identifier: Apache-2.0
// A JSON document in memory, for small files such as config.json. Its destruction allocates nothing, so that running
// out of memory while a file is read ends in std::bad_alloc like everywhere else.
#pragma once

#include <cstddef>
#include <cstdint>
#include <map>
#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace moekit {

class Json {
 public:
  enum class Kind : std::uint8_t { kNull, kBool, kInteger, kLargeInteger, kReal, kString, kArray, kObject };
  using Array = std::vector<Json>;
  struct Object {
    std::map<std::string, std::size_t, std::less<>> index;  // name to place in values
    Array values;
    /// Null pointer when there is no such name.
    const Json* find(std::string_view name) const;
  };

  // NOLINTBEGIN(google-explicit-constructor): literals stand for values in the families' lists.
  Json() = default;
  Json(bool boolean) : kind_(Kind::kBool), boolean_(boolean) {}
  Json(int integer) : Json(std::int64_t{integer}) {}
  Json(std::int64_t integer) : kind_(Kind::kInteger), integer_(integer) {}
  Json(const char* text) : Json(std::string(text)) {}
  Json(std::string text) : kind_(Kind::kString), string_(std::move(text)) {}
  // NOLINTEND(google-explicit-constructor)
  static Json large_integer(std::uint64_t integer);  // beyond int64
  static Json real(double number);
  static Json container(Kind kind);  // empty

  bool is_null() const noexcept { return kind_ == Kind::kNull; }
  /// The value of this kind, or a null pointer.
  const bool* boolean() const noexcept { return kind_ == Kind::kBool ? &boolean_ : nullptr; }
  const std::int64_t* integer() const noexcept { return kind_ == Kind::kInteger ? &integer_ : nullptr; }
  const std::string* string() const noexcept { return kind_ == Kind::kString ? &string_ : nullptr; }
  const Array* array() const noexcept { return kind_ == Kind::kArray ? &items_->values : nullptr; }
  const Object* object() const noexcept { return kind_ == Kind::kObject ? items_.get() : nullptr; }
  /// Any number as a double; NaN for what is none.
  double number() const noexcept;
  /// For building: the inside of a container.
  Object& items() noexcept { return *items_; }

  /// At most about 200 characters of the value as JSON, for messages; an object is "an object".
  std::string text() const;
  /// Values of one kind; containers are equal in all their values.
  friend bool operator==(const Json& a, const Json& b);

 private:
  void append_text(std::string& out) const;

  Kind kind_ = Kind::kNull;
  bool boolean_ = false;
  union {
    std::int64_t integer_ = 0;
    std::uint64_t large_;
    double real_;
  };
  std::string string_;
  std::shared_ptr<Object> items_;  // of an array as well, whose index is empty
};

/// Throws CheckpointError for text that is not one JSON object with distinct keys and bounded depth.
Json parse_json(std::string_view text, std::string_view operation, std::string_view file);

}  // namespace moekit
