// SPDX-License-Identifier: Apache-2.0
#include "backends/cpu/limits_fma.h"
#include "core/cpu_features.h"

namespace moekit::cpu {

extern const LimitKernels k_generic_limits;
constexpr LimitKernels k_generic_limits = {"generic", 0, fma_rounds<16, 12>, nullptr, nullptr, nullptr};

}  // namespace moekit::cpu
