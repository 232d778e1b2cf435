// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <string>
#include <vector>

namespace moekit {

/// "[2, 3]" for messages; of a list of more than eight numbers the first eight and "...".
std::string shape_text(const std::vector<std::int64_t>& shape);

}  // namespace moekit
