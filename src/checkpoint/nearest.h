// SPDX-License-Identifier: Apache-2.0
// The name that was probably meant.
#pragma once

#include <map>
#include <string>
#include <string_view>

#include "moekit/tensor.h"

namespace moekit {

/// The key of `tensors` with the smallest edit distance to `name`, empty when there is none. Looks at the keys that
/// share the longest beginning with it, so that the cost is bounded whatever the names.
std::string_view nearest_name(const std::map<std::string, TensorRef, std::less<>>& tensors, std::string_view name);

}  // namespace moekit
