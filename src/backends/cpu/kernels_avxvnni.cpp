// SPDX-License-Identifier: Apache-2.0
// AVX-VNNI: products of bytes on 256 bits; all else is inherited from AVX2.
#include "backends/cpu/dot_x86.h"
#include "backends/cpu/kernel_table.h"
#include "core/cpu_features.h"

namespace moekit::cpu {

extern const KernelTable k_avxvnni_kernels;
constexpr KernelTable k_avxvnni_kernels =
    kernel_table("avxvnni", kAvx2 | kAvxVnni, {}, {}, int_kernels<Avx2Dot, every_format>());

}  // namespace moekit::cpu
