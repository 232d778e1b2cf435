// SPDX-License-Identifier: Apache-2.0
// Its floating-point peaks are those of the ISA after it.
#include "backends/cpu/limits.h"
#include "core/cpu_features.h"

namespace moekit::cpu {

extern const LimitKernels k_neoni8mm_limits;
constexpr LimitKernels k_neoni8mm_limits = {"neoni8mm", kNeon | kNeonDot | kNeonI8mm, nullptr, nullptr, nullptr,
                                            nullptr};

}  // namespace moekit::cpu
