// SPDX-License-Identifier: Apache-2.0
// FEAT_BF16 of AArch64: products of bfloat16; all else is inherited.
#include "backends/cpu/gemm_neonbf16.h"
#include "backends/cpu/kernel_table.h"
#include "core/cpu_features.h"

namespace moekit::cpu {

extern const KernelTable k_neonbf16_kernels;
constexpr KernelTable k_neonbf16_kernels =
    kernel_table("neonbf16", kNeon | kNeonBf16, {}, weight_kernels<NeonBf16Gemm>(true), {});

}  // namespace moekit::cpu
