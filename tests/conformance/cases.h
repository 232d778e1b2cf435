// SPDX-License-Identifier: Apache-2.0
// The lists that the suite multiplies: dtypes, router rules, expert forms, sizes.
#pragma once

#include <cstdint>
#include <ostream>
#include <string>
#include <vector>

#include "conformance/random_block.h"

namespace moekit::conformance {

/// dtype of the packed weights and of x and y, with the bound on the normalised mean squared error.
/// 1e-10: float32 throughout. 1e-5: bfloat16 products, or x and y in bfloat16 (rounding y alone costs 1.3e-6). 2e-7:
/// the same in float16, whose steps are an eighth as wide.
struct Mode {
  const char* name;
  DType weights, data;
  double nmse;
};
/// All of them; modes(target) of targets.h has those of a target.
const std::vector<Mode>& modes();

/// A router rule; `set` fills in everything but the number of experts, `min_experts` is what it needs at least.
struct Rule {
  const char* name;
  std::int64_t min_experts;
  void (*set)(RouterConfig& config);
  RouterParts parts;
};
inline void PrintTo(const Rule& rule, std::ostream* out) { *out << rule.name; }
const std::vector<Rule>& rules();

struct Form {
  const char* name;
  void (*set)(BlockConfig& config);
};
inline void PrintTo(const Form& form, std::ostream* out) { *out << form.name; }
const std::vector<Form>& forms();

struct Size {
  std::int64_t input, intermediate, output;
};
/// Odd ones, aligned ones, and an output that differs from the input.
const std::vector<Size>& sizes();

/// Configuration of a rule and a form; top_k is min(top_k, experts) unless the rule fixes it.
BlockConfig make_config(const Rule& rule, const Form& form, std::int64_t experts, const Size& size);

}  // namespace moekit::conformance
