// SPDX-License-Identifier: Apache-2.0
// Any processor, for layers that are to be reproducible: the generic kernels with multiply-adds that are rounded once
// whether or not there is an instruction for it. In no list: generic names it where its own are rounded twice.
#define MOEKIT_SOFT_FMA
#include "backends/cpu/dot_generic.h"
#include "backends/cpu/gemm_fma.h"
#include "backends/cpu/kernel_table.h"
#include "core/cpu_features.h"

namespace moekit::cpu {

extern const KernelTable k_softfma_kernels;
constexpr KernelTable k_softfma_kernels =
    kernel_table("softfma", 0, weight_kernels<FmaGemm<float, 16, 2, 1>>(),
                 weight_kernels<FmaGemm<std::uint16_t, 16, 2, 1>>(), int_kernels<GenericDot>());

}  // namespace moekit::cpu
