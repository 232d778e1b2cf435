// SPDX-License-Identifier: Apache-2.0
// A configuration as the numbers that kernels take.
#pragma once

#include "backends/cuda/kernels.h"

namespace moekit::cuda {

/// Of float32, bfloat16 and float16.
constexpr Element element_of(DType dtype) noexcept {
  return dtype == DType::kFloat32    ? Element::kFloat32
         : dtype == DType::kBFloat16 ? Element::kBFloat16
                                     : Element::kFloat16;
}

/// Everything of SelectParams but pointers, strides and the number of tokens. `native` is the dtype of x.
SelectParams select_params(const RouterConfig& config, DType native);

ActivationParams activation_params(const ExpertConfig& config);
/// The activation that leaves its argument alone: routers and down projections.
ActivationParams no_activation();

}  // namespace moekit::cuda
