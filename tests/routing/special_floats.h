// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <limits>

namespace moekit {

constexpr float kNan = std::numeric_limits<float>::quiet_NaN();
constexpr float kInf = std::numeric_limits<float>::infinity();

}  // namespace moekit
