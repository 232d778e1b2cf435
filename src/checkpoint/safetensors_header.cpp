// SPDX-License-Identifier: Apache-2.0
#include "checkpoint/safetensors_header.h"

#include <algorithm>
#include <limits>
#include <utility>

#include "checkpoint/json.h"
#include "checkpoint/text.h"

namespace moekit {
namespace {

constexpr const char* kOperation = "safetensors";

struct DTypeName {
  std::string_view name;
  DType dtype;
};
constexpr DTypeName kDTypeNames[] = {
    {"F64", DType::kFloat64},
    {"F32", DType::kFloat32},
    {"BF16", DType::kBFloat16},
    {"F16", DType::kFloat16},
    {"F8_E4M3", DType::kFloat8E4M3},
    {"F8_E5M2", DType::kFloat8E5M2},
    {"F8_E8M0", DType::kFloat8E8M0},
    {"I64", DType::kInt64},
    {"I32", DType::kInt32},
    {"I16", DType::kInt16},
    {"I8", DType::kInt8},
    {"U64", DType::kUInt64},
    {"U32", DType::kUInt32},
    {"U16", DType::kUInt16},
    {"U8", DType::kUInt8},
    {"BOOL", DType::kBool},
};

/// {"name": {"dtype": "F32", "shape": [2, 3], "data_offsets": [0, 24]}, ..., "__metadata__": {"key": "value", ...}}
class HeaderSax final : public StrictSax {
 public:
  explicit HeaderSax(std::string_view file) : StrictSax(kOperation, file) {}
  std::vector<SafetensorsEntry> take() { return std::move(entries_); }
  SafetensorsMetadata take_metadata() { return std::move(metadata_); }

  bool null() override { return unexpected("null"); }
  bool boolean(bool value) override { return unexpected(value ? "true" : "false"); }
  bool number_integer(number_integer_t value) override { return unexpected(std::to_string(value)); }
  bool number_float(number_float_t, const string_t& text) override { return unexpected(text); }
  bool number_unsigned(number_unsigned_t value) override {
    if (depth() != 3 || value > static_cast<number_unsigned_t>(std::numeric_limits<std::int64_t>::max()))
      return unexpected(std::to_string(value));
    if (field_ == kShape) {
      entries_.back().shape.push_back(static_cast<std::int64_t>(value));
    } else if (offsets_ == 0) {
      entries_.back().begin = value;
      ++offsets_;
    } else {
      if (offsets_++ != 1) fail(tensor() + ": more than two data_offsets");
      entries_.back().end = value;
    }
    return true;
  }
  bool string(string_t& value) override {
    if (in_metadata_ && depth() == 2) {
      metadata_value_->second = std::move(value);
      return true;
    }
    if (depth() != 2 || field_ != kDType) return unexpected(in_quotes(value));
    for (const DTypeName& known : kDTypeNames)
      if (known.name == value) {
        entries_.back().dtype = known.dtype;
        return true;
      }
    fail(tensor() + ": dtype " + in_quotes(value) + " is not one of F64, F32, BF16, F16, F8_*, I64 ... U8, BOOL");
  }
  bool start_object(std::size_t) override {
    enter();
    if (depth() > 2) unexpected("an object");
    return true;
  }
  bool end_object() override {
    if (depth() == 2 && !in_metadata_) {
      if (seen_ != (kDType | kShape | kOffsets)) fail(tensor() + ": lacks dtype, shape or data_offsets");
    }
    in_metadata_ = false;
    leave();
    return true;
  }
  bool start_array(std::size_t) override {
    enter();
    if (depth() != 3 || in_metadata_ || (field_ != kShape && field_ != kOffsets)) unexpected("an array");
    return true;
  }
  bool end_array() override {
    if (field_ == kOffsets && offsets_ != 2) fail(tensor() + ": data_offsets are not two numbers");
    field_ = 0;
    leave();
    return true;
  }
  bool key(string_t& name) override {
    if (depth() == 1) return start_entry(name);
    if (in_metadata_) {
      const auto [place, is_new] = metadata_.emplace(name, "");
      if (!is_new) fail("__metadata__: duplicate key " + in_quotes(name));
      metadata_value_ = place;
      return true;
    }
    field_ = name == "dtype" ? kDType : name == "shape" ? kShape : name == "data_offsets" ? kOffsets : kNone;
    if (field_ == 0) fail(tensor() + ": unknown field " + in_quotes(name));
    if ((seen_ & field_) != 0) fail(tensor() + ": duplicate field " + in_quotes(name));
    seen_ |= field_;
    return true;
  }

 private:
  enum Field : unsigned { kNone = 0, kDType = 1, kShape = 2, kOffsets = 4 };

  bool start_entry(string_t& name) {
    in_metadata_ = name == "__metadata__";
    if (in_metadata_) {
      if (has_metadata_) fail("duplicate key '__metadata__'");
      has_metadata_ = true;
      return true;
    }
    if (entries_.size() == kMaxSafetensorsTensors)
      fail("more than " + std::to_string(kMaxSafetensorsTensors) + " tensors");
    entries_.emplace_back();
    entries_.back().name = std::move(name);
    seen_ = field_ = offsets_ = 0;
    return true;
  }
  std::string tensor() const { return "tensor " + in_quotes(entries_.back().name); }
  [[noreturn]] bool unexpected(const std::string& value) const {
    if (in_metadata_) fail("__metadata__: " + printable(value) + ", expected strings");
    if (entries_.empty()) fail("header holds " + printable(value) + ", expected tensors by name");
    const char* field = field_ == kDType ? ": dtype is " : field_ == kShape ? ": shape holds " : ": data_offsets hold ";
    const char* expected = field_ == kDType ? ", expected a string"
                           : depth() < 3    ? ", expected an array"
                                            : ", expected integers from 0 to 2^63 - 1";
    fail(tensor() + (field_ == 0 ? " is " : field) + printable(value) +
         (field_ == 0 ? ", expected an object" : expected));
  }

  std::vector<SafetensorsEntry> entries_;
  SafetensorsMetadata metadata_;
  SafetensorsMetadata::iterator metadata_value_;  // of the key that was read last
  bool in_metadata_ = false;
  bool has_metadata_ = false;
  unsigned field_ = 0, seen_ = 0, offsets_ = 0;
};

std::string range_text(const SafetensorsEntry& entry) {
  return std::to_string(entry.begin) + ".." + std::to_string(entry.end);
}

void check_names(std::vector<SafetensorsEntry>& entries, std::string_view file) {
  std::sort(entries.begin(), entries.end(),
            [](const SafetensorsEntry& a, const SafetensorsEntry& b) { return a.name < b.name; });
  const auto same =
      std::adjacent_find(entries.begin(), entries.end(), [](const auto& a, const auto& b) { return a.name == b.name; });
  if (same != entries.end()) checkpoint_error(kOperation, file, "tensor " + in_quotes(same->name) + ": duplicate name");
}

void check_size(const SafetensorsEntry& entry, std::string_view file) {
  std::int64_t bytes = static_cast<std::int64_t>(dtype_size(entry.dtype));
  bool wraps = false;
  for (const std::int64_t extent : entry.shape) wraps = wraps || __builtin_mul_overflow(bytes, extent, &bytes);
  const std::string tensor = "tensor " + in_quotes(entry.name);
  if (wraps)
    checkpoint_error(kOperation, file, tensor + ": shape " + shape_text(entry.shape) + " passes 2^63 - 1 bytes");
  if (entry.end < entry.begin || entry.end - entry.begin != static_cast<std::uint64_t>(bytes))
    checkpoint_error(kOperation, file,
                     tensor + ": data_offsets " + range_text(entry) + ", expected " + std::to_string(bytes) +
                         " bytes for " + std::string(dtype_name(entry.dtype)) + " " + shape_text(entry.shape));
}

void check_layout(std::vector<SafetensorsEntry>& entries, std::uint64_t data_bytes, std::string_view file) {
  std::sort(entries.begin(), entries.end(), [](const SafetensorsEntry& a, const SafetensorsEntry& b) {
    return a.begin != b.begin ? a.begin < b.begin : a.end < b.end;
  });
  std::uint64_t expected = 0;
  for (const SafetensorsEntry& entry : entries) {
    if (entry.begin != expected)
      checkpoint_error(kOperation, file,
                       "tensor " + in_quotes(entry.name) + ": data_offsets " + range_text(entry) +
                           (entry.begin < expected ? " overlap the tensor before" : " leave a hole") +
                           ", expected to begin at " + std::to_string(expected));
    if (entry.end > data_bytes)
      checkpoint_error(kOperation, file,
                       "tensor " + in_quotes(entry.name) + ": data_offsets " + range_text(entry) +
                           " pass the end of the file, which holds " + std::to_string(data_bytes) + " bytes of data");
    expected = entry.end;
  }
  if (expected != data_bytes)
    checkpoint_error(kOperation, file,
                     "tensors end at byte " + std::to_string(expected) + " of the data, the file holds " +
                         std::to_string(data_bytes));
}

}  // namespace

std::string_view safetensors_dtype(DType dtype) noexcept {
  for (const DTypeName& known : kDTypeNames)
    if (known.dtype == dtype) return known.name;
  return {};
}

std::uint64_t safetensors_header_length(std::string_view prefix, std::uint64_t file_size, std::string_view file) {
  if (file_size < 8 || prefix.size() < 8)
    checkpoint_error(kOperation, file, "file of " + std::to_string(file_size) + " bytes, a header needs at least 8");
  std::uint64_t length = 0;
  for (int i = 7; i >= 0; --i) length = length << 8 | static_cast<unsigned char>(prefix[static_cast<std::size_t>(i)]);
  if (length > kMaxSafetensorsHeader)
    checkpoint_error(
        kOperation, file,
        "header of " + std::to_string(length) + " bytes, the limit is " + std::to_string(kMaxSafetensorsHeader));
  if (length > file_size - 8)
    checkpoint_error(kOperation, file,
                     "header of " + std::to_string(length) + " bytes, the file has " + std::to_string(file_size - 8) +
                         " after the length");
  return length;
}

std::vector<SafetensorsEntry> parse_safetensors_header(std::string_view json, std::uint64_t file_size,
                                                       std::string_view file, SafetensorsMetadata* metadata) {
  if (file_size < 8 || json.size() > file_size - 8)
    checkpoint_error(kOperation, file, "header passes the end of the file of " + std::to_string(file_size) + " bytes");
  HeaderSax sax(file);
  sax.parse(json);
  std::vector<SafetensorsEntry> entries = sax.take();
  if (metadata != nullptr) *metadata = sax.take_metadata();
  check_names(entries, file);
  for (const SafetensorsEntry& entry : entries) check_size(entry, file);
  const std::uint64_t data_begin = 8 + json.size();
  check_layout(entries, file_size - data_begin, file);
  for (SafetensorsEntry& entry : entries) {
    entry.begin += data_begin;
    entry.end += data_begin;
  }
  return entries;
}

}  // namespace moekit
