// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>

#include "moekit/core.h"

namespace moekit {

/// s = exp(z - max z) / sum, in float32; rounded to `dtype` at the end. May run in place.
void softmax(const float* z, std::int64_t n, DType dtype, float* s) noexcept;

}  // namespace moekit
