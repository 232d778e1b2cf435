// SPDX-License-Identifier: Apache-2.0
// Strict JSON: bounded depth and tokens, duplicate keys are errors, every failure is a CheckpointError.
#pragma once

#include <cstddef>
#include <string>
#include <string_view>

#include <nlohmann/json.hpp>

namespace moekit {

/// Nesting beyond which a file is refused. Real headers nest 2 deep, real configurations below 10.
inline constexpr std::size_t kMaxJsonDepth = 64;

/// Base of the readers. Handlers of a derived class throw CheckpointError through fail().
class StrictSax : public nlohmann::json_sax<nlohmann::json> {
 public:
  StrictSax(std::string_view operation, std::string_view file) : operation_(operation), file_(file) {}
  /// Throws CheckpointError for anything that is not one well-formed JSON object within the bounds.
  void parse(std::string_view text);

  bool binary(binary_t&) final;
  bool parse_error(std::size_t position, const std::string&, const nlohmann::detail::exception& error) final;

 protected:
  [[noreturn]] void fail(const std::string& what) const;
  /// To be called first by start_object and start_array, and by end_object and end_array.
  void enter();
  void leave() noexcept { --depth_; }
  std::size_t depth() const noexcept { return depth_; }

 private:
  std::string operation_;
  std::string file_;
  std::size_t depth_ = 0;
};

}  // namespace moekit
