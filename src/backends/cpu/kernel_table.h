// SPDX-License-Identifier: Apache-2.0
// The table of an ISA from its multiplication kernels: all else is the same code, compiled for the ISA.
#pragma once

#include "backends/cpu/int_sweep.h"
#include "backends/cpu/softmax.h"
#include "backends/cpu/sweep.h"

namespace moekit::cpu {
namespace {

/// What lacks `up` is inherited from the next table. `wants`: as in KernelTable.
constexpr KernelTable kernel_table(std::string_view name, std::uint32_t needs, const WeightKernels& f32,
                                   const WeightKernels& bf16, const IntKernels& integer, const SplitKernels& split = {},
                                   void (*enter)() noexcept = nullptr, void (*leave)() noexcept = nullptr,
                                   std::uint32_t wants = 0) {
  return {name,
          needs,
          wants,
          kFusedMultiplyAdd && bf16.activation == DType::kFloat32,
          nullptr,
          f32,
          bf16,
          integer,
          split,
          finish,
          softmax_rows,
          small_dense_rows,
          unpack_tiles<float>,
          enter,
          leave};
}

}  // namespace
}  // namespace moekit::cpu
