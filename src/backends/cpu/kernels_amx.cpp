// SPDX-License-Identifier: Apache-2.0
// AMX-BF16: bfloat16 tiles; float32 is inherited from AVX-512.
#include "backends/cpu/gemm_amx.h"
#include "backends/cpu/kernel_table.h"
#include "core/cpu_features.h"

namespace moekit::cpu {

extern const KernelTable k_amx_kernels;
constexpr KernelTable k_amx_kernels = kernel_table("amx", kAvx512 | kAvx512Bf16 | kAmxBf16, {}, weight_kernels<AmxGemm>(), {}, amx_enter, amx_leave);

}  // namespace moekit::cpu
