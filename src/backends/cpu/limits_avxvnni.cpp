// SPDX-License-Identifier: Apache-2.0
// Its floating-point peaks are those of the ISA after it.
#include "backends/cpu/limits.h"
#include "core/cpu_features.h"

namespace moekit::cpu {

extern const LimitKernels k_avxvnni_limits;
constexpr LimitKernels k_avxvnni_limits = {"avxvnni", kAvx2 | kAvxVnni, nullptr, nullptr, nullptr, nullptr};

}  // namespace moekit::cpu
