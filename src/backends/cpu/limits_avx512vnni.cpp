// SPDX-License-Identifier: Apache-2.0
// Its floating-point peaks are those of the ISA after it.
#include "backends/cpu/limits.h"
#include "core/cpu_features.h"

namespace moekit::cpu {

extern const LimitKernels k_avx512vnni_limits;
constexpr LimitKernels k_avx512vnni_limits = {"avx512vnni", kAvx512 | kAvx512Vnni, nullptr, nullptr, nullptr, nullptr};

}  // namespace moekit::cpu
