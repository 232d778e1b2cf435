// SPDX-License-Identifier: Apache-2.0
// The list of kernel tables of programs that test the emulated ones: it takes the place of the library's own
// (src/backends/cpu/kernel_tables.cpp), and stands nowhere else.
#include <string_view>
#include <vector>

#include "backends/cpu/kernels.h"
#include "core/cpu_features.h"

namespace moekit::cpu {

extern const KernelTable k_amx_kernels, k_avx512bf16_kernels;  // compiled as on such a host, but for emulation
#ifndef MOEKIT_EMULATED_AVX512_ONLY
extern const KernelTable k_amx_kernels_plain, k_avx512bf16_kernels_plain;  // with the instructions of any processor
#endif
#define X(name) extern const KernelTable k_##name##_kernels;
X(avx512)
X(generic)
#undef X

namespace {

// On a real host the features stand in the way of tables that cannot run; the emulated ones need those of their flags.
KernelTable renamed(const KernelTable& table, std::string_view name, std::uint32_t needs) {
  KernelTable copy = table;
  copy.name = name;
  copy.needs = needs;
  return copy;
}

}  // namespace

const KernelTable* const* kernel_tables(std::size_t* count) {
  // What a table lacks it takes from the next one that has it: those of tiles come first, so that no other takes
  // theirs, which tiles must be configured for.
  static const std::vector<KernelTable> emulated = {
      renamed(k_amx_kernels, "amx_emulated", kAvx512),
#ifndef MOEKIT_EMULATED_AVX512_ONLY
      renamed(k_amx_kernels_plain, "amx_emulated_plain", 0),
#endif
      renamed(k_avx512bf16_kernels, "avx512bf16_emulated", kAvx512),
#ifndef MOEKIT_EMULATED_AVX512_ONLY
      renamed(k_avx512bf16_kernels_plain, "avx512bf16_emulated_plain", 0),
#endif
  };
  static const std::vector<const KernelTable*> list = [] {
    std::vector<const KernelTable*> tables;
    for (const KernelTable& table : emulated) tables.push_back(&table);
    tables.push_back(&k_avx512_kernels);
    tables.push_back(&k_generic_kernels);
    return tables;
  }();
  *count = list.size();
  return list.data();
}

}  // namespace moekit::cpu
