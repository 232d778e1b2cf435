// SPDX-License-Identifier: Apache-2.0
#include "backends/cpu/limits_fma.h"
#include "core/cpu_features.h"

namespace moekit::cpu {

extern const LimitKernels k_avx2_limits;
constexpr LimitKernels k_avx2_limits = {"avx2", kAvx2, fma_rounds<32, 12>, nullptr, nullptr, nullptr};

}  // namespace moekit::cpu
