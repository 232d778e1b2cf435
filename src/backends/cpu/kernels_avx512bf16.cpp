// SPDX-License-Identifier: Apache-2.0
// AVX512-BF16: dot products of bfloat16, also of codes that are bfloat16 numbers, which tables of AVX512-VBMI make in
// registers; the processors that have fast products have that. Float32 is inherited from AVX-512, and so are other
// quantised weights, which took two to four times as long unpacked to bfloat16 as where float32 rows or integers meet
// them in registers (one token of a Qwen3-30B-A3B layer).
#include "backends/cpu/code_sweep.h"
#include "backends/cpu/gemm_avx512bf16.h"
#include "backends/cpu/kernel_table.h"
#include "core/cpu_features.h"

namespace moekit::cpu {

extern const KernelTable k_avx512bf16_kernels;
constexpr KernelTable k_avx512bf16_kernels =
    kernel_table("avx512bf16", kAvx512 | kAvx512Vbmi | kAvx512Bf16, {}, code_kernels<Avx512Bf16Gemm>(), {}, {}, nullptr,
                 nullptr, kFastAvx512Bf16);

}  // namespace moekit::cpu
