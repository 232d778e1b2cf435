// SPDX-License-Identifier: Apache-2.0
// FEAT_I8MM of AArch64: matrix products of bytes; all else is inherited from FEAT_DotProd and Advanced SIMD.
#include "backends/cpu/int_i8mm.h"
#include "backends/cpu/kernel_table.h"
#include "core/cpu_features.h"

namespace moekit::cpu {

extern const KernelTable k_neoni8mm_kernels;
constexpr KernelTable k_neoni8mm_kernels =
    kernel_table("neoni8mm", kNeon | kNeonDot | kNeonI8mm, {}, {}, i8mm_int_kernels());

}  // namespace moekit::cpu
