// SPDX-License-Identifier: Apache-2.0
// config.json read field by field: dialects of a name, defaults, and errors that name field, value and what is known.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "checkpoint/json_value.h"

namespace moekit {

/// A field under the names that its dialects give it. When several are present they must agree. "a.b" is the field b of
/// the object a.
struct Field {
  std::vector<const char*> names;       // none: the family has no such field, and `absent` is its value
  std::optional<double> absent;         // value when no name is there: the default of the family's config class
  std::optional<double> null = absent;  // value of an explicit null
  bool per_layer = false;               // may be a list with a value for each layer
  bool per_set = false;                 // may be a list with a value for each expert set
};

/// Sizes beyond this are refused, so that products of two never leave 64 bits.
inline constexpr std::int64_t kMaxConfigSize = (std::int64_t{1} << 31) - 1;

class Config {
 public:
  /// Reads config.json in `folder`. Throws CheckpointError.
  static Config read(const std::string& folder);
  /// An object that another file describes the model with. `path` names it in messages.
  static Config of(std::string path, Json object);

  const std::string& path() const noexcept { return path_; }
  /// The whole file.
  const Json::Object& root() const { return *root_.object(); }
  /// The object that describes the text model: a nested one of a multimodal file, or the whole file.
  const Json::Object& text() const;
  /// Uses the object at `name` in text() as text().
  void descend(const char* name) { text_path_.push_back(name); }
  /// The layer whose element is read from fields that may be lists, and the number of layers.
  void select_layer(std::int64_t layer, std::int64_t layers) {
    layer_ = layer;
    layers_ = layers;
  }
  /// The expert set whose element is read from fields that may be lists of them, and the number of sets.
  void select_set(std::size_t set, std::size_t sets) {
    set_ = set;
    sets_ = sets;
  }

  /// The value under any of the names, null pointer when there is none. Throws when two of them disagree.
  const Json* find(const std::vector<const char*>& names) const;
  /// An integer from `low` to kMaxConfigSize.
  std::int64_t integer(const Field& field, std::int64_t low) const;
  double number(const Field& field) const;
  bool boolean(const Field& field) const;
  /// The number for the selected layer in a list of one for each layer; 0 when list or element are absent or null.
  double layer_number(const char* name) const;
  /// A list of layer indices; empty when absent or null.
  std::vector<std::int64_t> integers(const char* name) const;

  /// Throws CheckpointError "[config] path: what".
  [[noreturn]] void fail(const std::string& what) const;

 private:
  const Json* lookup(std::string_view name) const;
  /// The element of the selected layer or set when `value` is a list and the field may be one.
  const Json* element(const Field& field, const Json* value) const;

  std::string path_;
  Json root_;
  std::vector<const char*> text_path_;
  std::int64_t layer_ = 0, layers_ = 0;
  std::size_t set_ = 0, sets_ = 1;
};

/// "num_experts", or "num_experts (or num_local_experts, n_routed_experts)".
std::string field_text(const std::vector<const char*>& names);

}  // namespace moekit
