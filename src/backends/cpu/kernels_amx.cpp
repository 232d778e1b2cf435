// SPDX-License-Identifier: Apache-2.0
// AMX-BF16 and AMX-INT8: tiles of bfloat16, of parts of float32, and of bytes; float32 as it is, for what parts do not
// hold, is inherited from AVX-512.
#include "backends/cpu/dot_generic.h"
#include "backends/cpu/gemm_amx.h"
#include "backends/cpu/int_amx.h"
#include "backends/cpu/kernel_table.h"
#include "backends/cpu/split_amx.h"
#include "backends/cpu/split_sweep.h"
#include "core/cpu_features.h"
#ifdef __AVX512BW__
#include "backends/cpu/dot_x86.h"
#endif

namespace moekit::cpu {
namespace {

// For groups that are no whole tiles. (Emulated, the file is compiled for any processor too.)
#ifdef __AVX512BW__
using TailDot = Avx512Dot;
#else
using TailDot = GenericDot;
#endif

}  // namespace

extern const KernelTable k_amx_kernels;
constexpr KernelTable k_amx_kernels =
    kernel_table("amx", kAvx512 | kAvx512Vnni | kAvx512Bf16 | kAmxBf16, {}, weight_kernels<AmxGemm>(true),
                 amx_int_kernels<TailDot>(), split_kernels<SplitAmx>(), amx_enter, amx_leave);

}  // namespace moekit::cpu
