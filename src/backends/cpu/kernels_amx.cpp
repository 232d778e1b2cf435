// SPDX-License-Identifier: Apache-2.0
// AMX-BF16: bfloat16 tiles; float32 is inherited from AVX-512.
#include "backends/cpu/gemm_amx.h"
#include "backends/cpu/softmax.h"
#include "backends/cpu/sweep.h"
#include "core/cpu_features.h"

namespace moekit::cpu {

extern const KernelTable k_amx_kernels;
constexpr KernelTable k_amx_kernels = {"amx",
                                       kAvx512 | kAvx512Bf16 | kAmxBf16,
                                       {},
                                       weight_kernels<AmxGemm>(),
                                       finish,
                                       softmax_rows,
                                       small_dense_rows,
                                       unpack_tiles<float>,
                                       amx_enter,
                                       amx_leave};

}  // namespace moekit::cpu
