// SPDX-License-Identifier: Apache-2.0
// Advanced SIMD of AArch64: 4 x 4 accumulators of 32 registers, 16 chains for four units of latency 4.
#include "backends/cpu/float_state.h"
#include "backends/cpu/gemm_fma.h"
#include "backends/cpu/softmax.h"
#include "backends/cpu/sweep.h"
#include "core/cpu_features.h"

namespace moekit::cpu {

extern const KernelTable k_neon_kernels;
constexpr KernelTable k_neon_kernels = {"neon",
                                        kNeon,
                                        weight_kernels<FmaGemm<float, 16, 4, 1>>(),
                                        weight_kernels<FmaGemm<std::uint16_t, 16, 4, 1>>(),
                                        finish,
                                        softmax_rows,
                                        small_dense_rows,
                                        unpack_tiles<float>,
                                        float_enter,
                                        float_leave};

}  // namespace moekit::cpu
