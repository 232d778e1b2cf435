// SPDX-License-Identifier: Apache-2.0
// Any processor: four lanes, 8 accumulators of the 16 registers that every 64-bit ISA has.
#include "backends/cpu/dot_generic.h"
#include "backends/cpu/gemm_fma.h"
#include "backends/cpu/kernel_table.h"
#include "core/cpu_features.h"

namespace moekit::cpu {

extern const KernelTable k_softfma_kernels;

namespace {

constexpr KernelTable table() {
  KernelTable generic = kernel_table("generic", 0, weight_kernels<FmaGemm<float, 16, 2, 1>>(),
                                     weight_kernels<FmaGemm<std::uint16_t, 16, 2, 1>>(), int_kernels<GenericDot>());
  if (!generic.reproducible) generic.instead = &k_softfma_kernels;
  return generic;
}

}  // namespace

extern const KernelTable k_generic_kernels;
constexpr KernelTable k_generic_kernels = table();

}  // namespace moekit::cpu
