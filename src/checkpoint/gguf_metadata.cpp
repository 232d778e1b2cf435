// SPDX-License-Identifier: Apache-2.0
#include "checkpoint/gguf_metadata.h"

#include <limits>
#include <utility>

#include "checkpoint/text.h"

namespace moekit {
namespace {

constexpr std::uint64_t kMaxString = 1024;   // kept
constexpr std::uint64_t kMaxArray = 1024;    // numbers kept of one array: those for each layer are below 200
constexpr std::uint64_t kMaxKept = 1 << 16;  // numbers kept of all arrays, 64 bytes each in memory
constexpr int kMaxNesting = 8;               // arrays of arrays; none are published

enum ValueType : std::uint32_t {
  kUInt8,
  kInt8,
  kUInt16,
  kInt16,
  kUInt32,
  kInt32,
  kFloat32,
  kBool,
  kString,
  kArray,
  kUInt64,
  kInt64,
  kFloat64,
};

/// Bytes that a value of the type takes at least.
std::uint64_t least_bytes(std::uint32_t type) {
  constexpr std::uint8_t kBytes[] = {1, 1, 2, 2, 4, 4, 4, 1, 8, 12, 8, 8, 8};
  return kBytes[type];
}

class Reader {
 public:
  explicit Reader(GgufCursor& cursor) : cursor_(cursor) {}

  /// The key and value of a pair.
  std::pair<std::string, Json> pair() {
    key_ = "a key";
    std::string key = cursor_.text("a key", GgufCursor::kLongest);
    if (key.empty()) cursor_.fail("an empty key");
    key_ = "key " + in_quotes(key);
    const std::uint32_t value_type = type();
    return {std::move(key), value_type == kString ? string() : value_type == kArray ? array(0) : scalar(value_type)};
  }

 private:
  std::uint32_t type() {
    const auto type = cursor_.number<std::uint32_t>(key_);
    if (type > kFloat64) cursor_.fail(key_ + ": value type " + std::to_string(type) + ", known are 0 to 12");
    return type;
  }

  Json scalar(std::uint32_t type) {
    switch (type) {
      case kUInt8: return std::int64_t{cursor_.number<std::uint8_t>(key_)};
      case kInt8: return std::int64_t{cursor_.number<std::int8_t>(key_)};
      case kUInt16: return std::int64_t{cursor_.number<std::uint16_t>(key_)};
      case kInt16: return std::int64_t{cursor_.number<std::int16_t>(key_)};
      case kUInt32: return std::int64_t{cursor_.number<std::uint32_t>(key_)};
      case kInt32: return std::int64_t{cursor_.number<std::int32_t>(key_)};
      case kInt64: return cursor_.number<std::int64_t>(key_);
      case kUInt64: return large(cursor_.number<std::uint64_t>(key_));
      case kFloat32: return Json::real(double{cursor_.number<float>(key_)});
      case kFloat64: return Json::real(cursor_.number<double>(key_));
      default: return boolean();
    }
  }

  static Json large(std::uint64_t value) {
    constexpr auto kMax = static_cast<std::uint64_t>(std::numeric_limits<std::int64_t>::max());
    return value <= kMax ? Json(static_cast<std::int64_t>(value)) : Json::large_integer(value);
  }

  Json boolean() {
    const auto value = cursor_.number<std::uint8_t>(key_);
    if (value > 1) cursor_.fail(key_ + ": bool is " + std::to_string(value) + ", expected 0 or 1");
    return value == 1;
  }

  Json string() {
    std::optional<std::string> text = cursor_.short_text(key_, kMaxString);
    return text ? Json(std::move(*text)) : Json();
  }

  Json array(int depth) {
    if (depth == kMaxNesting)
      cursor_.fail(key_ + ": arrays nested deeper than " + std::to_string(kMaxNesting) + " levels");
    const std::uint32_t item = type();
    const auto count = cursor_.number<std::uint64_t>(key_);
    if (count > cursor_.remaining() / least_bytes(item))
      cursor_.fail(key_ + ": array of " + std::to_string(count) + " items of at least " +
                   std::to_string(least_bytes(item)) + " bytes, the file has " + std::to_string(cursor_.remaining()) +
                   " bytes left");
    if (item == kString) {
      for (std::uint64_t i = 0; i < count; ++i) cursor_.skip_text(key_);
      return {};
    }
    if (item == kArray) {
      for (std::uint64_t i = 0; i < count; ++i) array(depth + 1);
      return {};
    }
    if (count > kMaxArray || count > kMaxKept - kept_ || depth > 0) {
      cursor_.skip(count * least_bytes(item), key_);  // no overflow: the product is at most what remains
      return {};
    }
    kept_ += count;
    Json values = Json::container(Json::Kind::kArray);
    for (std::uint64_t i = 0; i < count; ++i) values.items().values.push_back(scalar(item));
    return values;
  }

  GgufCursor& cursor_;
  std::string key_;
  std::uint64_t kept_ = 0;
};

}  // namespace

GgufMetadata read_gguf_metadata(GgufCursor& cursor, std::uint64_t count) {
  constexpr std::uint64_t kLeast = 13;  // key length, value type, one byte
  if (count > kMaxGgufPairs || count > cursor.remaining() / kLeast)
    cursor.fail(std::to_string(count) + " key-value pairs, the limit is " + std::to_string(kMaxGgufPairs) +
                " and the file has room for " + std::to_string(cursor.remaining() / kLeast));
  GgufMetadata metadata;
  Reader reader(cursor);
  for (std::uint64_t i = 0; i < count; ++i) {
    std::pair<std::string, Json> pair = reader.pair();
    if (metadata.find(pair.first) != metadata.end()) cursor.fail("duplicate key " + in_quotes(pair.first));
    metadata.insert(std::move(pair));
  }
  return metadata;
}

std::uint64_t gguf_unsigned(const GgufMetadata& metadata, const char* key, std::uint64_t absent,
                            std::string_view file) {
  const auto found = metadata.find(key);
  if (found == metadata.end()) return absent;
  const std::int64_t* value = found->second.integer();
  if (value == nullptr || *value < 0)
    checkpoint_error("gguf", file,
                     std::string(key) + " is " + found->second.text() + ", expected an integer from 0 on");
  return static_cast<std::uint64_t>(*value);
}

}  // namespace moekit
