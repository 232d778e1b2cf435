// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>

namespace moekit {

/// s = exp(z - max z) / sum, in float32; rounded to bfloat16 at the end when `bf16`. May run in place.
void softmax(const float* z, std::int64_t n, bool bf16, float* s) noexcept;

}  // namespace moekit
