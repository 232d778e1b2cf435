// SPDX-License-Identifier: Apache-2.0
// AVX512-VNNI: products of bytes; all else is inherited from AVX-512.
#include "backends/cpu/dot_x86.h"
#include "backends/cpu/kernel_table.h"
#include "core/cpu_features.h"

namespace moekit::cpu {

extern const KernelTable k_avx512vnni_kernels;
constexpr KernelTable k_avx512vnni_kernels =
    kernel_table("avx512vnni", kAvx512 | kAvx512Vnni, {}, {}, int_kernels<Avx512Dot, every_format>());

}  // namespace moekit::cpu
