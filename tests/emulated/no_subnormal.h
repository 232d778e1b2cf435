// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cmath>

namespace moekit::emulated {

/// Said apart from the emulation's own flush, which tests compare with it.
inline float no_subnormal(float x) { return std::fpclassify(x) == FP_SUBNORMAL ? std::copysign(0.0f, x) : x; }

}  // namespace moekit::emulated
