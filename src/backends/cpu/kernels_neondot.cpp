// SPDX-License-Identifier: Apache-2.0
// FEAT_DotProd of AArch64: products of bytes; all else is inherited from Advanced SIMD.
#include "backends/cpu/dot_neon.h"
#include "backends/cpu/kernel_table.h"
#include "core/cpu_features.h"

namespace moekit::cpu {

extern const KernelTable k_neondot_kernels;
constexpr KernelTable k_neondot_kernels =
    kernel_table("neondot", kNeon | kNeonDot, {}, {}, int_kernels<NeonDot, every_format>());

}  // namespace moekit::cpu
