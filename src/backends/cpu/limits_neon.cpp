// SPDX-License-Identifier: Apache-2.0
#include "backends/cpu/limits_fma.h"
#include "core/cpu_features.h"

namespace moekit::cpu {

extern const LimitKernels k_neon_limits;
constexpr LimitKernels k_neon_limits = {"neon", kNeon, fma_rounds<16, 24>, nullptr, nullptr, nullptr};

}  // namespace moekit::cpu
