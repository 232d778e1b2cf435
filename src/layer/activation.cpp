// SPDX-License-Identifier: Apache-2.0
#include <iterator>

#include "moekit/layer.h"

namespace moekit {
namespace {

struct Form {
  std::string_view name;
  bool gated;
};

// In the order of enum Activation.
constexpr Form kForms[] = {{"linear", false},     {"silu", true},       {"gelu_tanh", true},
                           {"gelu", true},        {"silu_clamp", true}, {"swiglu_oai", true},
                           {"swiglu_step", true}, {"relu", false},      {"relu2", false}};
static_assert(std::size(kForms) == static_cast<std::size_t>(Activation::kRelu2) + 1);

}  // namespace

bool is_gated(Activation act) noexcept { return kForms[static_cast<std::size_t>(act)].gated; }

std::string_view activation_name(Activation act) noexcept { return kForms[static_cast<std::size_t>(act)].name; }

}  // namespace moekit
