// SPDX-License-Identifier: Apache-2.0
// Advanced SIMD of AArch64: 4 x 4 accumulators of 32 registers, 16 chains for four units of latency 4.
#include "backends/cpu/dot_generic.h"
#include "backends/cpu/gemm_fma.h"
#include "backends/cpu/kernel_table.h"
#include "core/cpu_features.h"

namespace moekit::cpu {

extern const KernelTable k_neon_kernels;
constexpr KernelTable k_neon_kernels =
    kernel_table("neon", kNeon, weight_kernels<FmaGemm<float, 16, 4, 1>>(),
                 weight_kernels<FmaGemm<std::uint16_t, 16, 4, 1>>(), int_kernels<GenericDot>());

}  // namespace moekit::cpu
