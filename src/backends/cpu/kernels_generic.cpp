// SPDX-License-Identifier: Apache-2.0
// Any processor: four lanes, 8 accumulators of the 16 registers that every 64-bit ISA has.
#include "backends/cpu/float_state.h"
#include "backends/cpu/gemm_fma.h"
#include "backends/cpu/softmax.h"
#include "backends/cpu/sweep.h"
#include "core/cpu_features.h"

namespace moekit::cpu {

extern const KernelTable k_generic_kernels;
constexpr KernelTable k_generic_kernels = {"generic",
                                           0,
                                           weight_kernels<FmaGemm<float, 16, 2, 1>>(),
                                           weight_kernels<FmaGemm<std::uint16_t, 16, 2, 1>>(),
                                           finish,
                                           softmax_rows,
                                           small_dense_rows,
                                           unpack_tiles<float>,
                                           float_enter,
                                           float_leave};

}  // namespace moekit::cpu
