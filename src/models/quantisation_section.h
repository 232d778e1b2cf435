// SPDX-License-Identifier: Apache-2.0
// An object of a quantisation's JSON, read field by field; errors name the field with its path.
#pragma once

#include <string>
#include <vector>

#include "models/quantisation.h"

namespace moekit {

class QuantSection {
 public:
  QuantSection(const Config& config, std::string path, const Json::Object& object)
      : config_(config), path_(std::move(path)), object_(object) {}

  /// The first of `names` that is there and not null, null pointer when none is.
  const Json* find(const std::vector<const char*>& names) const;
  /// The object inside under `name`, if there is one.
  std::optional<QuantSection> inner(std::string_view name) const;
  /// Lower-case text under the first of `names` ("" when absent), which must be one of `known`.
  std::string choice(const std::vector<const char*>& names, const std::vector<const char*>& known) const;
  /// An integer of at least `low`, or `absent`.
  std::int64_t integer(const std::vector<const char*>& names, std::int64_t low, std::int64_t absent) const;
  /// The same, which must be one of `known` when it is there.
  std::int64_t known_integer(const std::vector<const char*>& names, const std::vector<std::int64_t>& known) const;
  /// Two positive integers [rows, cols], or nothing.
  std::optional<ScaleBlock> block(std::string_view name) const;
  const Json::Object& object() const noexcept { return object_; }

  [[noreturn]] void fail(std::string_view field, const Json& value, const std::string& expected) const;

 private:
  const Config& config_;
  std::string path_;  // "quantization_config."
  const Json::Object& object_;
};

// One function a method, listed in quantisation.cpp: fills in sizes and notes, or fails.
void read_fp8(const QuantSection& section, Quantisation& out);
void read_gptq(const QuantSection& section, Quantisation& out);
void read_awq(const QuantSection& section, Quantisation& out);
void read_mxfp4(const QuantSection& section, Quantisation& out);
void read_modelopt(const QuantSection& section, Quantisation& out);
void read_compressed_tensors(const QuantSection& section, Quantisation& out);

}  // namespace moekit
