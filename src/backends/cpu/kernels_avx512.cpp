// SPDX-License-Identifier: Apache-2.0
// AVX-512 F, BW, VL, DQ: 8 x 2 accumulators of 32 registers, 16 chains for two units of latency 4.
#include "backends/cpu/dot_x86.h"
#include "backends/cpu/gemm_fma.h"
#include "backends/cpu/kernel_table.h"
#include "core/cpu_features.h"

namespace moekit::cpu {

extern const KernelTable k_avx512_kernels;
constexpr KernelTable k_avx512_kernels =
    kernel_table("avx512", kAvx512, weight_kernels<FmaGemm<float, 64, 8, 2>>(),
                 weight_kernels<FmaGemm<std::uint16_t, 64, 8, 2>>(), int_kernels<Avx512Dot, four_bits>());

}  // namespace moekit::cpu
