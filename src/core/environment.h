// SPDX-License-Identifier: Apache-2.0
// MOEKIT_* environment variables, read when first asked for.
#pragma once

#include <string>

namespace moekit {

/// Value of an environment variable, empty when unset.
std::string environment(const char* name);
/// An integer >= low, or `fallback` when unset. Throws std::invalid_argument naming variable, value and limit.
long environment_integer(const char* name, long low, long high, long fallback);

}  // namespace moekit
