// SPDX-License-Identifier: Apache-2.0
#include "backends/cpu/limits_fma.h"
#include "core/cpu_features.h"

namespace moekit::cpu {

extern const LimitKernels k_avx512_limits;
constexpr LimitKernels k_avx512_limits = {"avx512", kAvx512, fma_rounds<64, 16>, nullptr, nullptr, nullptr};

}  // namespace moekit::cpu
