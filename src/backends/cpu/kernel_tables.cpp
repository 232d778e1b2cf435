// SPDX-License-Identifier: Apache-2.0
// The list of kernel tables, generated from the moekit_add_cpu_isa calls. Nothing else stands here: a test program that
// brings a list of its own leaves this file out of the archive.
#include <iterator>

#include "backends/cpu/kernels.h"

namespace moekit::cpu {

#define X(name) extern const KernelTable k_##name##_kernels;
#include "moekit_cpu_isas.inc"
#undef X

const KernelTable* const* kernel_tables(std::size_t* count) {
  static const KernelTable* const list[] = {
#define X(name) &k_##name##_kernels,
#include "moekit_cpu_isas.inc"
#undef X
  };
  *count = std::size(list);
  return list;
}

}  // namespace moekit::cpu
