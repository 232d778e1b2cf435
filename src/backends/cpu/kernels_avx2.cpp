// SPDX-License-Identifier: Apache-2.0
// AVX2 with FMA: 6 x 2 accumulators of 16 registers; 5 x 2 where bfloat16 takes two more for the pair.
#include "backends/cpu/dot_x86.h"
#include "backends/cpu/gemm_fma.h"
#include "backends/cpu/kernel_table.h"
#include "core/cpu_features.h"

namespace moekit::cpu {

extern const KernelTable k_avx2_kernels;
constexpr KernelTable k_avx2_kernels =
    kernel_table("avx2", kAvx2, weight_kernels<FmaGemm<float, 32, 6, 1>>(),
                 weight_kernels<FmaGemm<std::uint16_t, 32, 5, 1, 6>>(), int_kernels<Avx2Dot, four_bits>());

}  // namespace moekit::cpu
