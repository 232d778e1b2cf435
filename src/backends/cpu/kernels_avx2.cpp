// SPDX-License-Identifier: Apache-2.0
// AVX2 with FMA: 6 x 2 accumulators of 16 registers; 5 x 2 where bfloat16 takes two more for the pair.
#include "backends/cpu/float_state.h"
#include "backends/cpu/gemm_fma.h"
#include "backends/cpu/softmax.h"
#include "backends/cpu/sweep.h"
#include "core/cpu_features.h"

namespace moekit::cpu {

extern const KernelTable k_avx2_kernels;
constexpr KernelTable k_avx2_kernels = {"avx2",
                                        kAvx2,
                                        weight_kernels<FmaGemm<float, 32, 6, 1>>(),
                                        weight_kernels<FmaGemm<std::uint16_t, 32, 5, 1>>(),
                                        finish,
                                        softmax_rows,
                                        small_dense_rows,
                                        unpack_tiles<float>,
                                        float_enter,
                                        float_leave};

}  // namespace moekit::cpu
