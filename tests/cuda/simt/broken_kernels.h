// SPDX-License-Identifier: Apache-2.0
// Kernels with one mistake each, or with none: what the checker must stop, and what it must let pass.
#pragma once

#include "cuda/simt/launch.h"

namespace simt::broken {

struct Params {
  float* in;
  float* out;
  int n;
  int mistake;  // 0: none
};

#define MOEKIT_BROKEN_KERNELS(X) \
  X(reverse_in_block)            \
  X(sum_in_warp)                 \
  X(exchange_in_warp)            \
  X(ends_before_barrier)         \
  X(half_waits)                  \
  X(wrong_mask)                  \
  X(reads_outside_mask)          \
  X(overruns_global)             \
  X(overruns_shared)             \
  X(takes_too_much_shared)       \
  X(reads_unwritten_shared)      \
  X(misaligned_vector)           \
  X(blocks_race)                 \
  X(copies_async)                \
  X(writes_host_memory)

#define X(name) extern "C" const KernelInfo broken_##name##_twin;
MOEKIT_BROKEN_KERNELS(X)
#undef X

}  // namespace simt::broken
